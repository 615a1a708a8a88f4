"""What an operator may say of the network, and what is refused: a module or folder a layer, in pure Python.

`load.load` reads the settings of the current stack; `stack.Settings` is what components and tools are given. Nothing
here imports a component or a provider's SDK, so that editors, documentation and tools can use it without an engine.
"""
