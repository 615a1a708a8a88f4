// Checks a Talos machine configuration patch the way talosctl does: the patch is loaded (an unknown key is an error),
// applied to a freshly generated control-plane configuration and the result is validated.
//
//	talos-patch-check [-talos v1.10] FILE
//
// Exit status 0: the patch is good; 1: it is not, with the reason on standard error; 2: wrong usage.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/siderolabs/talos/pkg/machinery/constants"
)

// metal is the platform mode of a machine that Talos was installed on.
type metal struct{}

func (metal) String() string        { return "metal" }
func (metal) RequiresInstall() bool { return true }
func (metal) InContainer() bool     { return false }

func main() {
	contract := flag.String("talos", "v1.10", "Talos version whose configuration the patch is applied to")
	flag.Parse()

	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: talos-patch-check [-talos v1.10] FILE")
		os.Exit(2)
	}

	if err := check(flag.Arg(0), *contract); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", flag.Arg(0), err)
		os.Exit(1)
	}

	fmt.Printf("%s: valid for Talos %s\n", flag.Arg(0), *contract)
}

func check(file, contract string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}

	patch, err := configpatcher.LoadPatch(text)
	if err != nil {
		return fmt.Errorf("loading the patch: %w", err)
	}

	if _, ok := patch.(configpatcher.StrategicMergePatch); !ok {
		return errors.New("not a strategic merge patch")
	}

	version, err := config.ParseContractFromVersion(contract)
	if err != nil {
		return fmt.Errorf("-talos %s: %w", contract, err)
	}

	input, err := generate.NewInput("anton", "https://192.0.2.1:6443", constants.DefaultKubernetesVersion,
		generate.WithVersionContract(version), generate.WithInstallDisk("/dev/sda"))
	if err != nil {
		return err
	}

	base, err := input.Config(machine.TypeControlPlane)
	if err != nil {
		return err
	}

	output, err := configpatcher.Apply(configpatcher.WithConfig(base), []configpatcher.Patch{patch})
	if err != nil {
		return fmt.Errorf("applying the patch: %w", err)
	}

	patched, err := output.Config()
	if err != nil {
		return fmt.Errorf("loading the patched configuration: %w", err)
	}

	if _, err := patched.Validate(metal{}); err != nil {
		return fmt.Errorf("validating the patched configuration: %w", err)
	}

	return nil
}
