package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	cmtypes "github.com/cilium/cilium/pkg/clustermesh/types"
	ipcachetypes "github.com/cilium/cilium/pkg/ipcache/types"
	"github.com/cilium/cilium/pkg/k8s"
	ciliumv2 "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
	slim_networkingv1 "github.com/cilium/cilium/pkg/k8s/slim/k8s/api/networking/v1"
	slim_metav1 "github.com/cilium/cilium/pkg/k8s/slim/k8s/apis/meta/v1"
	"github.com/cilium/cilium/pkg/policy/api"
	"github.com/cilium/cilium/pkg/policy/types"
	"github.com/cilium/cilium/pkg/policy/utils"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// parsedPolicy is one manifest as the engine's rules.
type parsedPolicy struct {
	resource ipcachetypes.ResourceID
	rules    types.PolicyEntries
}

// manifest holds the fields of a policy that matter. Others, such as status, may be there.
type manifest struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Spec  json.RawMessage   `json:"spec"`
	Specs []json.RawMessage `json:"specs"`
}

func parsePolicies(texts []json.RawMessage) ([]parsedPolicy, error) {
	result := make([]parsedPolicy, 0, len(texts))
	seen := make(map[ipcachetypes.ResourceID]bool)

	for i, text := range texts {
		var read manifest
		if err := json.Unmarshal(text, &read); err != nil {
			return nil, fmt.Errorf("policies[%d]: %w", i, err)
		}

		parsed, err := read.parse()
		if err != nil {
			return nil, fmt.Errorf("policies[%d] (%s %s/%s): %w",
				i, read.Kind, read.Metadata.Namespace, read.Metadata.Name, err)
		}

		if seen[parsed.resource] {
			return nil, fmt.Errorf("policies[%d]: %s is there twice", i, parsed.resource)
		}

		seen[parsed.resource] = true
		result = append(result, parsed)
	}

	return result, nil
}

func (m *manifest) parse() (parsedPolicy, error) {
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))

	switch {
	case m.Metadata.Name == "":
		return parsedPolicy{}, fmt.Errorf("has no metadata.name")
	case (m.Metadata.Namespace == "") != (m.Kind == "CiliumClusterwideNetworkPolicy"):
		return parsedPolicy{}, fmt.Errorf("a %s with namespace %q can't be", m.Kind, m.Metadata.Namespace)
	}

	switch m.Kind {
	case "NetworkPolicy":
		object := &slim_networkingv1.NetworkPolicy{
			ObjectMeta: slim_metav1.ObjectMeta{Name: m.Metadata.Name, Namespace: m.Metadata.Namespace},
		}
		if err := strictly(m.Spec, &object.Spec); err != nil {
			return parsedPolicy{}, fmt.Errorf("spec: %w", err)
		}

		rules, err := k8s.ParseNetworkPolicy(logger, cmtypes.PolicyAnyCluster, object)

		return parsedPolicy{m.resource(ipcachetypes.ResourceKindNetpol), rules}, err
	case "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy":
		specs, err := m.ciliumRules()
		if err != nil {
			return parsedPolicy{}, err
		}

		// Without a namespace this is parsed as a cluster-wide policy.
		object := &ciliumv2.CiliumNetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: m.Metadata.Name, Namespace: m.Metadata.Namespace},
			Specs:      specs,
		}

		rules, err := object.Parse(logger, cmtypes.PolicyAnyCluster)
		if err != nil {
			return parsedPolicy{}, err
		}

		kind := ipcachetypes.ResourceKindCNP
		if m.Metadata.Namespace == "" {
			kind = ipcachetypes.ResourceKindCCNP
		}

		return parsedPolicy{m.resource(kind), utils.RulesToPolicyEntries(rules)}, nil
	default:
		return parsedPolicy{}, fmt.Errorf("%q is not a kind of network policy", m.Kind)
	}
}

func (m *manifest) resource(kind ipcachetypes.ResourceKind) ipcachetypes.ResourceID {
	return ipcachetypes.NewResourceID(kind, m.Metadata.Namespace, m.Metadata.Name)
}

func (m *manifest) ciliumRules() (api.Rules, error) {
	texts := m.Specs
	if m.Spec != nil {
		texts = append([]json.RawMessage{m.Spec}, texts...)
	}

	rules := make(api.Rules, 0, len(texts))

	for _, text := range texts {
		rule := new(api.Rule)
		if err := strictly(text, rule); err != nil {
			return nil, fmt.Errorf("spec: %w", err)
		}

		if err := refuseWhatNeedsACluster(rule); err != nil {
			return nil, err
		}

		rules = append(rules, rule)
	}

	return rules, nil
}

// refuseWhatNeedsACluster names selectors whose meaning the agent looks up while it runs.
func refuseWhatNeedsACluster(rule *api.Rule) error {
	for _, egress := range rule.Egress {
		if len(egress.ToServices) > 0 || len(egress.ToGroups) > 0 {
			return fmt.Errorf("toServices and toGroups can't be judged without a cluster")
		}

		if err := refuseGroups(egress.ToCIDRSet); err != nil {
			return err
		}
	}

	for _, ingress := range rule.Ingress {
		if len(ingress.FromGroups) > 0 {
			return fmt.Errorf("fromGroups can't be judged without a cluster")
		}

		if err := refuseGroups(ingress.FromCIDRSet); err != nil {
			return err
		}
	}

	return nil
}

func refuseGroups(set api.CIDRRuleSlice) error {
	for _, each := range set {
		if each.CIDRGroupRef != "" || each.CIDRGroupSelector.LabelSelector != nil {
			return fmt.Errorf("CIDR groups can't be judged without a cluster")
		}
	}

	return nil
}
