// Prints Cilium's custom resource definitions as a stream of YAML documents. In a real cluster the Cilium operator
// installs them at its start; the chart does not hold them.
package main

import (
	"fmt"
	"log"
	"log/slog"
	"maps"
	"slices"

	"github.com/cilium/cilium/pkg/k8s/apis/cilium.io/client"
	"sigs.k8s.io/yaml"
)

func main() {
	definitions := client.CustomResourceDefinitionList()
	for _, key := range slices.Sorted(maps.Keys(definitions)) {
		document, err := yaml.Marshal(client.GetPregeneratedCRD(slog.Default(), definitions[key].Name))
		if err != nil {
			log.Fatalf("%s: %v", key, err)
		}
		fmt.Printf("---\n%s", document)
	}
}
