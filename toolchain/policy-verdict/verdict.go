package main

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/cilium/pkg/endpoint/regeneration"
	ciliumio "github.com/cilium/cilium/pkg/k8s/apis/cilium.io"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/policy"
	"github.com/cilium/cilium/pkg/policy/api"
	"github.com/cilium/cilium/pkg/spanstat"
	"github.com/cilium/cilium/pkg/u8proto"
)

// Direction is the verdict of one end's policies.
type Direction struct {
	Allowed  bool               `json:"allowed"`
	Enforced bool               `json:"enforced"`
	Policies []string           `json:"policies"`
	HTTP     []api.PortRuleHTTP `json:"http,omitempty"`
	DNS      []api.PortRuleDNS  `json:"dns,omitempty"`
}

func (c *cluster) answer(query Query) (Answer, error) {
	answer := Answer{From: query.From, To: query.To, Port: query.Port, Protocol: strings.ToUpper(query.Protocol)}

	from, to := c.endpoints[query.From], c.endpoints[query.To]
	if from == nil || to == nil {
		return answer, fmt.Errorf("%q or %q is not an endpoint", query.From, query.To)
	}

	if query.Port == 0 {
		return answer, fmt.Errorf("port: is missing or 0")
	}

	protocol, err := protocolOf(query.Protocol)
	if err != nil {
		return answer, err
	}

	if answer.Egress, err = c.judge(from, to, false, query, protocol); err != nil {
		return answer, err
	}

	if answer.Ingress, err = c.judge(to, from, true, query, protocol); err != nil {
		return answer, err
	}

	answer.Allowed = answer.Egress.Allowed && answer.Ingress.Allowed

	return answer, nil
}

// judge returns the verdict of the policies that select `own`, in one direction.
func (c *cluster) judge(own, peer *endpoint, ingress bool, query Query, protocol u8proto.U8proto) (Direction, error) {
	if !own.isPod {
		return Direction{Allowed: true, Policies: []string{}}, nil
	}

	owner := &owner{endpoint: own, peer: peer}

	selected, _, err := c.repository.GetSelectorPolicy(own.identity, 0, &statistics{}, own.id)
	if err != nil {
		return Direction{}, err
	}

	redirects, filters := redirectsOf(selected, owner)
	distilled := selected.DistillPolicy(c.logger, owner, redirects)

	defer distilled.Detach(c.logger)

	if err := distilled.Ready(); err != nil {
		return Direction{}, err
	}

	key, enforced := policy.EgressKey(), distilled.SelectorPolicy.EgressPolicyEnabled
	if ingress {
		key, enforced = policy.IngressKey(), distilled.SelectorPolicy.IngressPolicyEnabled
	}

	entry, origin, found := distilled.Lookup(key.WithIdentity(peer.identity.ID).WithPortProto(protocol, query.Port))
	result := Direction{Allowed: found && !entry.IsDeny(), Enforced: enforced}

	if result.Allowed && entry.ProxyPort != 0 {
		result.throughProxy(filters[entry.ProxyPort], peer, query)
	}

	if result.Allowed {
		result.Policies = namesOf(origin.LabelArray())
	} else {
		result.Policies = c.restricting(own, ingress)
	}

	return result, nil
}

// redirectsOf gives each proxy redirect of a policy a number of its own and returns the filters behind each number.
func redirectsOf(selected policy.SelectorPolicy, owner *owner) (map[string]uint16, map[uint16][]*policy.L4Filter) {
	redirects, filters := make(map[string]uint16), make(map[uint16][]*policy.L4Filter)

	for filter, tuple := range selected.RedirectFilters() {
		port := filter.Port
		if port == 0 && filter.PortName != "" {
			port = owner.GetNamedPort(filter.Ingress, filter.PortName, filter.U8Proto)
		}

		id := policy.ProxyID(uint16(owner.GetID()), filter.Ingress, string(filter.Protocol), port, tuple.Policy.Listener)
		if redirects[id] == 0 {
			redirects[id] = uint16(len(redirects) + 1)
		}

		if number := redirects[id]; !slices.Contains(filters[number], filter) {
			filters[number] = append(filters[number], filter)
		}
	}

	return redirects, filters
}

// throughProxy adds the rules that the proxy holds for the peer, and judges by them what the query asks of it.
func (d *Direction) throughProxy(filters []*policy.L4Filter, peer *endpoint, query Query) {
	restricted := true

	for _, filter := range filters {
		for selector, rules := range filter.PerSelectorPolicies {
			if !selector.Selects(peer.identity.ID) {
				continue
			}

			if rules == nil || rules.L7Rules.Len() == 0 {
				restricted = false

				continue
			}

			d.HTTP = append(d.HTTP, rules.HTTP...)
			d.DNS = append(d.DNS, rules.DNS...)
		}
	}

	slices.SortFunc(d.HTTP, func(a, b api.PortRuleHTTP) int {
		return strings.Compare(a.Method+" "+a.Path, b.Method+" "+b.Path)
	})
	slices.SortFunc(d.DNS, func(a, b api.PortRuleDNS) int {
		return strings.Compare(a.MatchName+a.MatchPattern, b.MatchName+b.MatchPattern)
	})

	if !restricted {
		d.HTTP, d.DNS = nil, nil

		return
	}

	if query.HTTP != nil && len(d.HTTP) > 0 {
		d.Allowed = slices.ContainsFunc(d.HTTP, query.HTTP.matches)
	}

	if query.DNS != "" && len(d.DNS) > 0 {
		d.Allowed = slices.ContainsFunc(d.DNS, func(rule api.PortRuleDNS) bool {
			selector := api.FQDNSelector(rule)
			pattern, err := selector.ToRegex()

			return err == nil && pattern.MatchString(absolute(query.DNS))
		})
	}
}

// matches judges a request as Envoy does: expressions cover the whole value (both use RE2), headers are taken literally.
func (r *HTTPRequest) matches(rule api.PortRuleHTTP) bool {
	headers := http.Header{}
	for name, value := range r.Headers {
		headers.Set(name, value)
	}

	for _, wanted := range rule.Headers {
		name, value, valued := strings.Cut(wanted, " ")
		given, exists := headers[http.CanonicalHeaderKey(strings.TrimRight(name, ":"))]

		if !exists || valued && given[0] != value {
			return false
		}
	}

	// Matches that compare with a Secret or change the request are not known here: such a rule allows nothing.
	return len(rule.HeaderMatches) == 0 && covers(rule.Method, r.Method) && covers(rule.Path, r.Path) &&
		covers(rule.Host, r.Host)
}

func covers(expression, value string) bool {
	if expression == "" {
		return true
	}

	pattern, err := regexp.Compile(`^(?:` + expression + `)$`)

	return err == nil && pattern.MatchString(value)
}

// restricting returns the policies that put an endpoint under default deny, or deny explicitly.
func (c *cluster) restricting(own *endpoint, ingress bool) []string {
	names := []string{}

	for _, rule := range c.rules {
		if rule.Ingress == ingress && (rule.DefaultDeny || rule.IsDeny()) && rule.Subject.Matches(own.identity.LabelArray) {
			names = append(names, namesOf(labels.LabelArrayList{rule.Labels})...)
		}
	}

	slices.Sort(names)

	return slices.Compact(names)
}

// namesOf turns the labels that the engine gives to rules back into kind and name of their policies.
func namesOf(origins labels.LabelArrayList) []string {
	names := []string{}

	for _, origin := range origins {
		kind := origin.Get("k8s." + ciliumio.PolicyLabelDerivedFrom)
		name := origin.Get("k8s." + ciliumio.PolicyLabelName)

		if namespace := origin.Get("k8s." + ciliumio.PolicyLabelNamespace); namespace != "" {
			name = namespace + "/" + name
		}

		if kind != "" {
			names = append(names, kind+" "+name)
		}
	}

	slices.Sort(names)

	return slices.Compact(names)
}

// owner is an endpoint whose policy is distilled for traffic with one peer.
type owner struct {
	*endpoint
	peer *endpoint
}

// GetNamedPort returns the number of a port of the connection's destination, 0 when it has none of that name.
func (o *owner) GetNamedPort(ingress bool, name string, protocol u8proto.U8proto) uint16 {
	destination := o.peer
	if ingress {
		destination = o.endpoint
	}

	for _, port := range destination.ports {
		found, err := protocolOf(port.Protocol)
		if err == nil && port.Name == name && found == protocol {
			return port.Port
		}
	}

	return 0
}

// GetID returns the endpoint's number.
func (o *owner) GetID() uint64 { return o.id }

// IsHost is false: the host has no policies here.
func (o *owner) IsHost() bool { return false }

// PolicyDebug is called with details that nobody reads here.
func (o *owner) PolicyDebug(string, ...any) {}

// PreviousMapState is nil: policies are never updated here.
func (o *owner) PreviousMapState() *policy.MapState { return nil }

// RegenerateIfAlive has nothing to regenerate.
func (o *owner) RegenerateIfAlive(*regeneration.ExternalRegenerationMetadata) <-chan bool {
	done := make(chan bool)
	close(done)

	return done
}

type statistics struct {
	waiting, calculation spanstat.SpanStat
}

func (s *statistics) WaitingForPolicyRepository() *spanstat.SpanStat { return &s.waiting }

func (s *statistics) SelectorPolicyCalculation() *spanstat.SpanStat { return &s.calculation }
