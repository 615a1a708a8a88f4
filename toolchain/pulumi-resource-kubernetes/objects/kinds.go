// Package v2 registers the objects of the plugin's components (ConfigGroup, Chart) with the engine. It takes the place
// of kinds.go in the SDK for Go, which knows a Go type for each kind of each API version: to compile them all takes
// longer than the whole plugin, and nothing but their URNs is used. What the engine gets is the same.
package v2

import (
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

type object struct{ pulumi.CustomResourceState }

// RegisterResource registers one object and returns it as a resource to depend on.
func RegisterResource(ctx *pulumi.Context, apiVersion, kind, name string, props pulumi.Input,
	opts ...pulumi.ResourceOption) (pulumi.CustomResource, error) {
	if !strings.Contains(apiVersion, "/") {
		apiVersion = "core/" + apiVersion
	}
	var made object
	if err := ctx.RegisterResource("kubernetes:"+apiVersion+":"+kind, name, props, &made, opts...); err != nil {
		return nil, err
	}
	return &made, nil
}
