package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"

	envoypolicy "github.com/cilium/cilium/pkg/envoy/policy"
	"github.com/cilium/cilium/pkg/identity"
	"github.com/cilium/cilium/pkg/identity/identitymanager"
	slim_metav1 "github.com/cilium/cilium/pkg/k8s/slim/k8s/apis/meta/v1"
	k8sutils "github.com/cilium/cilium/pkg/k8s/utils"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/labelsfilter"
	"github.com/cilium/cilium/pkg/option"
	"github.com/cilium/cilium/pkg/policy"
	"github.com/cilium/cilium/pkg/policy/api"
	"github.com/cilium/cilium/pkg/policy/types"
	"github.com/cilium/cilium/pkg/u8proto"
)

// firstPodIdentity is above the identities that Cilium reserves.
const firstPodIdentity = identity.NumericIdentity(1000)

// clusterName is Cilium's default; policies here select pods of any cluster.
const clusterName = "default"

// cluster is a policy repository with the identities of all endpoints.
type cluster struct {
	logger     *slog.Logger
	repository *policy.Repository
	endpoints  map[string]*endpoint
	rules      types.PolicyEntries
}

// endpoint is an end of a connection, as the engine wants the owner of a policy.
type endpoint struct {
	id       uint64
	identity *identity.Identity
	isPod    bool
	ports    []NamedPort
}

func newCluster(input *Input) (*cluster, error) {
	if err := configure(input.Enforcement); err != nil {
		return nil, err
	}

	parsed, err := parsePolicies(input.Policies)
	if err != nil {
		return nil, err
	}

	result := &cluster{
		logger:    slog.New(slog.NewTextHandler(io.Discard, nil)),
		endpoints: make(map[string]*endpoint),
	}
	for _, each := range parsed {
		result.rules = append(result.rules, each.rules...)
	}

	known := newIdentities()
	if err := result.addEndpoints(input, known); err != nil {
		return nil, err
	}

	manager := identitymanager.NewIDManager(result.logger)
	translator := envoypolicy.NewEnvoyL7RulesTranslator(result.logger, nil)
	result.repository = policy.NewPolicyRepository(
		result.logger, known.initial(), nil, translator, manager, noMetrics{},
	)
	result.repository.GetSelectorCache().SetLocalIdentityNotifier(noNotifier{})

	for _, each := range slices.Sorted(maps.Keys(known.byNumber)) {
		manager.Add(known.byNumber[each])
	}

	for _, each := range parsed {
		result.repository.ReplaceByResource(each.rules, each.resource)
	}

	return result, nil
}

// configure sets the agent's options as the Cilium chart and the agent itself do under Kubernetes.
func configure(enforcement string) error {
	option.Config.EnableIPv4 = true
	option.Config.EnableIPv6 = false
	option.Config.EnableL7Proxy = true
	option.Config.EnableICMPRules = true
	option.Config.EnableNonDefaultDenyPolicies = true
	option.Config.AllowLocalhost = option.AllowLocalhostAlways

	switch enforcement {
	case "", option.DefaultEnforcement:
		policy.SetPolicyEnabled(option.DefaultEnforcement)
	case option.AlwaysEnforce:
		policy.SetPolicyEnabled(option.AlwaysEnforce)
	default:
		return fmt.Errorf("enforcement: %q is neither default nor always", enforcement)
	}

	return labelsfilter.ParseLabelPrefixCfg(slog.New(slog.NewTextHandler(io.Discard, nil)), nil, nil, "")
}

func (c *cluster) addEndpoints(input *Input, known *identities) error {
	namespaces := make(map[string]map[string]string)
	for _, each := range input.Namespaces {
		namespaces[each.Name] = each.Labels
	}

	selectors := c.domainSelectors()

	for i, each := range input.Endpoints {
		if _, exists := c.endpoints[each.Name]; exists || each.Name == "" {
			return fmt.Errorf("endpoints[%d]: the name %q is empty or taken", i, each.Name)
		}

		found, err := known.of(each, namespaces[each.Namespace], selectors)
		if err != nil {
			return fmt.Errorf("endpoints[%d] (%s): %w", i, each.Name, err)
		}

		c.endpoints[each.Name] = &endpoint{
			id: uint64(i + 1), identity: found, isPod: each.Namespace != "", ports: each.Ports,
		}
	}

	return nil
}

// domainSelectors returns the toFQDNs selectors of all policies.
func (c *cluster) domainSelectors() []*api.FQDNSelector {
	var found []*api.FQDNSelector

	for _, rule := range c.rules {
		for _, selector := range rule.L3 {
			if domain, ok := selector.GetFQDNSelector(); ok {
				found = append(found, domain)
			}
		}
	}

	return found
}

// identities hands out identities: endpoints with equal labels share one.
type identities struct {
	byNumber map[identity.NumericIdentity]*identity.Identity
	byLabels map[string]*identity.Identity
	pods     identity.NumericIdentity
	outside  identity.NumericIdentity
}

func newIdentities() *identities {
	return &identities{
		byNumber: make(map[identity.NumericIdentity]*identity.Identity),
		byLabels: make(map[string]*identity.Identity),
		pods:     firstPodIdentity,
		outside:  identity.IdentityScopeLocal,
	}
}

// initial returns what the selector cache starts with: reserved identities too, with our labels where there are any.
func (k *identities) initial() identity.IdentityMap {
	all := identity.ListReservedIdentities()
	for number, each := range k.byNumber {
		all[number] = each.LabelArray
	}

	return all
}

func (k *identities) of(
	each Endpoint, namespaceLabels map[string]string, selectors []*api.FQDNSelector,
) (*identity.Identity, error) {
	kinds := 0
	for _, present := range []bool{each.Namespace != "", len(each.Entities) > 0, each.Address != "", each.Domain != ""} {
		if present {
			kinds++
		}
	}

	if kinds != 1 {
		return nil, errors.New("must have one of namespace, entities, address and domain")
	}

	switch {
	case each.Namespace != "":
		return k.add(podLabels(each, namespaceLabels), &k.pods), nil
	case len(each.Entities) > 0:
		return k.addEntity(each.Entities)
	case each.Address != "":
		address, err := netip.ParseAddr(each.Address)
		if err != nil {
			return nil, err
		}

		return k.add(labels.GetCIDRLabels(netip.PrefixFrom(address, address.BitLen())), &k.outside), nil
	default:
		found, err := domainLabels(each.Domain, selectors)
		if err != nil {
			return nil, err
		}

		return k.add(found, &k.outside), nil
	}
}

func (k *identities) add(found labels.Labels, next *identity.NumericIdentity) *identity.Identity {
	key := found.String()
	if existing, ok := k.byLabels[key]; ok {
		return existing
	}

	*next++
	added := identity.NewIdentity(*next, found)
	k.byLabels[key], k.byNumber[*next] = added, added

	return added
}

// addEntity gives a reserved identity the labels of all entities that it stands for: a node may be the API server.
func (k *identities) addEntity(entities []string) (*identity.Identity, error) {
	found := make(labels.Labels)
	numbers := make([]identity.NumericIdentity, 0, len(entities))

	for _, name := range entities {
		number := identity.GetReservedID(name)
		if number == identity.IdentityUnknown {
			return nil, fmt.Errorf("%q is not an entity that Cilium reserves", name)
		}

		numbers = append(numbers, number)
		found[name] = labels.NewLabel(name, "", labels.LabelSourceReserved)
	}

	// The host keeps its own number whatever else it is; otherwise the API server's covers that of the node it runs on.
	number := numbers[0]
	if slices.Contains(numbers, identity.ReservedIdentityHost) {
		number = identity.ReservedIdentityHost
	} else if slices.Contains(numbers, identity.ReservedIdentityKubeAPIServer) {
		number = identity.ReservedIdentityKubeAPIServer
	}

	if existing, ok := k.byNumber[number]; ok {
		if existing.Labels.String() != found.String() {
			return nil, fmt.Errorf("another endpoint has the same identity with other entities: %s", existing.Labels)
		}

		return existing, nil
	}

	added := identity.NewIdentity(number, found)
	k.byNumber[number] = added

	return added, nil
}

// podLabels returns the labels of a pod that make its identity: Cilium adds the namespace's and leaves some out.
func podLabels(pod Endpoint, namespaceLabels map[string]string) labels.Labels {
	namespace := &slim_metav1.ObjectMeta{Name: pod.Namespace, Labels: map[string]string{}}
	maps.Copy(namespace.Labels, namespaceLabels)
	namespace.Labels["kubernetes.io/metadata.name"] = pod.Namespace

	all := k8sutils.SanitizePodLabels(pod.Labels, namespace, "default", clusterName)
	found, _ := labelsfilter.Filter(labels.Map2Labels(all, labels.LabelSourceK8s))

	return found
}

// domainLabels returns the labels of an address outside after a DNS answer: those of all selectors that match the name.
func domainLabels(domain string, selectors []*api.FQDNSelector) (labels.Labels, error) {
	found := labels.Labels{}
	found.AddWorldLabel(netip.AddrFrom4([4]byte{}))

	for _, selector := range selectors {
		pattern, err := selector.ToRegex()
		if err != nil {
			return nil, err
		}

		if pattern.MatchString(absolute(domain)) {
			label := selector.IdentityLabel()
			found[label.Key] = label
		}
	}

	return found, nil
}

// absolute returns a domain in the form that Cilium's expressions expect: lower case, with the dot at its end.
func absolute(domain string) string {
	return strings.TrimSuffix(strings.ToLower(domain), ".") + "."
}

type noMetrics struct{}

func (noMetrics) AddRule(types.PolicyEntry) {}
func (noMetrics) DelRule(types.PolicyEntry) {}

type noNotifier struct{}

func (noNotifier) RegisterFQDNSelector(api.FQDNSelector) uint64   { return 0 }
func (noNotifier) UnregisterFQDNSelector(api.FQDNSelector) uint64 { return 0 }

func protocolOf(name string) (u8proto.U8proto, error) {
	switch strings.ToUpper(name) {
	case "TCP", "UDP", "SCTP":
		return u8proto.ParseProtocol(name)
	default:
		return 0, fmt.Errorf("protocol: %q is none of TCP, UDP and SCTP", name)
	}
}
