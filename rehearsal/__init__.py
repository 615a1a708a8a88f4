"""What stands for the clouds where no account is at hand (docs/stand-in.md). The program itself knows nothing of it."""
