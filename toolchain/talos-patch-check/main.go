// Checks a Talos machine configuration patch the way talosctl does: the patch is loaded (an unknown key is an error),
// applied to a freshly generated configuration of a control plane, or of a worker, and the result is validated.
//
//	talos-patch-check [-talos v1.10] [-worker] [-print] FILE
//
// -print writes the patched configuration to standard output.
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
	worker := flag.Bool("worker", false, "apply it to the configuration of a worker")
	show := flag.Bool("print", false, "write the patched configuration")
	flag.Parse()

	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: talos-patch-check [-talos v1.10] [-worker] [-print] FILE")
		os.Exit(2)
	}

	kind := machine.TypeControlPlane
	if *worker {
		kind = machine.TypeWorker
	}

	patched, err := check(flag.Arg(0), *contract, kind)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", flag.Arg(0), err)
		os.Exit(1)
	}

	if *show {
		fmt.Print(string(patched))

		return
	}

	fmt.Printf("%s: valid for Talos %s\n", flag.Arg(0), *contract)
}

// check returns the patched configuration.
func check(file, contract string, kind machine.Type) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}

	patch, err := configpatcher.LoadPatch(text)
	if err != nil {
		return nil, fmt.Errorf("loading the patch: %w", err)
	}

	if _, ok := patch.(configpatcher.StrategicMergePatch); !ok {
		return nil, errors.New("not a strategic merge patch")
	}

	version, err := config.ParseContractFromVersion(contract)
	if err != nil {
		return nil, fmt.Errorf("-talos %s: %w", contract, err)
	}

	input, err := generate.NewInput("anton", "https://192.0.2.1:6443", constants.DefaultKubernetesVersion,
		generate.WithVersionContract(version), generate.WithInstallDisk("/dev/sda"))
	if err != nil {
		return nil, err
	}

	base, err := input.Config(kind)
	if err != nil {
		return nil, err
	}

	output, err := configpatcher.Apply(configpatcher.WithConfig(base), []configpatcher.Patch{patch})
	if err != nil {
		return nil, fmt.Errorf("applying the patch: %w", err)
	}

	patched, err := output.Config()
	if err != nil {
		return nil, fmt.Errorf("loading the patched configuration: %w", err)
	}

	if _, err := patched.Validate(metal{}); err != nil {
		return nil, fmt.Errorf("validating the patched configuration: %w", err)
	}

	return output.Bytes()
}
