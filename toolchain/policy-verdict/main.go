// Says which traffic a set of network policies lets through, by Cilium's own policy engine.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
)

const usage = `usage: policy-verdict < INPUT.json > OUTPUT.json

Reads a cluster and questions about it, and answers each by the policy engine of Cilium, without a cluster.

Input, an object:
  enforcement  "default" (endpoints with a policy are restricted; taken when absent) or "always" (all are)
  namespaces   [{"name": ..., "labels": {...}}]; kubernetes.io/metadata.name is added, a namespace that only an
               endpoint names needs no entry
  endpoints    [{"name": ..., and one of
                 "namespace": ..., "labels": {...}, "ports": [{"name", "port", "protocol"}]   a pod
                 "entities": ["remote-node", "kube-apiserver"]   what Cilium reserves: host, remote-node,
                                                                 kube-apiserver, world, health, ingress
                 "address": "192.168.1.50"                       a host outside of the cluster
                 "domain": "api.example.com"                     the same, as pods learned it from DNS}]
  policies     manifests: NetworkPolicy, CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy. An unknown field of a
               spec is an error, so are toServices, toGroups and CIDR groups, which need a cluster
  queries      [{"from", "to": names of endpoints, "port": 80, "protocol": "TCP", and what is asked of a proxy:
                 "http": {"method", "path", "host", "headers": {...}} or "dns": "api.example.com"}]

Output, an array with one object for each query, in order:
  from, to, port, protocol   as asked
  allowed      both directions allow it
  egress, ingress   {"allowed", "enforced": a policy restricts the endpoint in this direction,
                 "policies": who decided: the policies that allow, or those that restrict when it is denied,
                 "http", "dns": rules of the proxy that the connection goes through}
               An http or dns question is judged by these rules. Without one, "allowed" speaks of the connection.

Every answer holds for the pods themselves (a Service is translated before policies see it). Replies are always let
through. The node's own traffic to pods on it is always allowed, as Cilium does under Kubernetes; nodes have no host
firewall.

Exit status 0: answered; 1: the input is at fault, with the reason on standard error; 2: wrong usage.
`

// Input is what the program reads.
type Input struct {
	Enforcement string            `json:"enforcement"`
	Namespaces  []Namespace       `json:"namespaces"`
	Endpoints   []Endpoint        `json:"endpoints"`
	Policies    []json.RawMessage `json:"policies"`
	Queries     []Query           `json:"queries"`
}

// Namespace is a Kubernetes namespace with its labels.
type Namespace struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
}

// Endpoint is one end of a connection: a pod, a reserved entity, an address or a domain.
type Endpoint struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"`
	Ports     []NamedPort       `json:"ports"`
	Entities  []string          `json:"entities"`
	Address   string            `json:"address"`
	Domain    string            `json:"domain"`
}

// NamedPort is a container port that policies may name.
type NamedPort struct {
	Name     string `json:"name"`
	Port     uint16 `json:"port"`
	Protocol string `json:"protocol"`
}

// Query asks whether one endpoint reaches another.
type Query struct {
	From     string       `json:"from"`
	To       string       `json:"to"`
	Port     uint16       `json:"port"`
	Protocol string       `json:"protocol"`
	HTTP     *HTTPRequest `json:"http"`
	DNS      string       `json:"dns"`
}

// HTTPRequest is what an HTTP rule looks at.
type HTTPRequest struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Host    string            `json:"host"`
	Headers map[string]string `json:"headers"`
}

// Answer is the verdict on one query.
type Answer struct {
	From     string    `json:"from"`
	To       string    `json:"to"`
	Port     uint16    `json:"port"`
	Protocol string    `json:"protocol"`
	Allowed  bool      `json:"allowed"`
	Egress   Direction `json:"egress"`
	Ingress  Direction `json:"ingress"`
}

func main() {
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flag.Parse()

	if flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}

	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "policy-verdict: %v\n", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}

	var input Input
	if err := strictly(text, &input); err != nil {
		return fmt.Errorf("input: %w", err)
	}

	cluster, err := newCluster(&input)
	if err != nil {
		return err
	}

	answers := make([]Answer, 0, len(input.Queries))

	for i, query := range input.Queries {
		answer, err := cluster.answer(query)
		if err != nil {
			return fmt.Errorf("queries[%d]: %w", i, err)
		}

		answers = append(answers, answer)
	}

	return json.NewEncoder(out).Encode(answers)
}

// strictly decodes JSON and refuses fields that the target does not have.
func strictly(text []byte, target any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()

	return decoder.Decode(target)
}
