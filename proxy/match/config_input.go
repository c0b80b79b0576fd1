// SPDX-License-Identifier: Apache-2.0

package match

import (
	"fmt"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	envv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/environment_variable/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	sslv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/ssl/v3"
	hashingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/consistent_hashing/v3"
	ipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/ip/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/metadata/v3"
	fractionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/runtime_fraction/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"weir.dev/weir/proxy/header"
)

// compileInput compiles a data input.
func compileInput[A any](c *xdscorev3.TypedExtensionConfig, ctx *TreeContext[A]) (Input, error) {
	if msg, err := unpack(c.GetTypedConfig()); err == nil {
		if in, ok := knownInput(msg); ok {
			return in, nil
		}
	}
	if ctx.Input != nil {
		return ctx.Input(c)
	}
	return nil, fmt.Errorf("input %q of type %q is not supported", c.GetName(), c.GetTypedConfig().GetTypeUrl())
}

func knownInput(msg any) (Input, bool) {
	switch x := msg.(type) {
	case *matcherv3.HttpRequestHeaderMatchInput:
		return newHeaderInput(requestHead, x.GetHeaderName()), true
	case *matcherv3.HttpRequestTrailerMatchInput:
		return newHeaderInput(requestTrailer, x.GetHeaderName()), true
	case *matcherv3.HttpResponseHeaderMatchInput:
		return newHeaderInput(responseHead, x.GetHeaderName()), true
	case *matcherv3.HttpResponseTrailerMatchInput:
		return newHeaderInput(responseTrailer, x.GetHeaderName()), true
	case *matcherv3.HttpRequestQueryParamMatchInput:
		return queryInput(x.GetQueryParam()), true
	case *matcherv3.HttpResponseStatusCodeMatchInput:
		return statusInput{}, true
	case *matcherv3.HttpResponseStatusCodeClassMatchInput:
		return statusInput{class: true}, true
	case *envv3.Config:
		return environment(x.GetName()), true
	case *sslv3.UriSanInput:
		return certInput(uriSAN), true
	case *sslv3.DnsSanInput:
		return certInput(dnsSAN), true
	case *sslv3.SubjectInput:
		return certInput(subject), true
	}
	return networkInput(msg)
}

func newHeaderInput(p headerPart, name string) Input {
	n := header.NewName(name)
	if n.String() == "host" && p == requestHead {
		n = header.Authority
	}
	return headerInput{p, n}
}

func networkInput(msg any) (Input, bool) {
	switch x := msg.(type) {
	case *networkv3.DestinationIPInput:
		return netInput(destinationIP), true
	case *networkv3.DestinationPortInput:
		return netInput(destinationPort), true
	case *networkv3.SourceIPInput:
		return netInput(sourceIP), true
	case *networkv3.SourcePortInput:
		return netInput(sourcePort), true
	case *networkv3.DirectSourceIPInput:
		return netInput(directSourceIP), true
	case *networkv3.SourceTypeInput:
		return netInput(sourceType), true
	case *networkv3.ServerNameInput:
		return netInput(serverName), true
	case *networkv3.TransportProtocolInput:
		return netInput(transportProtocol), true
	case *networkv3.ApplicationProtocolInput:
		return netInput(applicationProtocol), true
	case *networkv3.FilterStateInput:
		if x.GetField() != "" {
			return nil, false // Objects have no fields here.
		}
		return filterStateInput(x.GetKey()), true
	case *networkv3.DynamicMetadataInput:
		in := metadataInput{filter: x.GetFilter()}
		for _, s := range x.GetPath() {
			in.path = append(in.path, s.GetKey())
		}
		return in, true
	}
	return nil, false
}

// compileMatcher compiles what a single predicate asks of its input.
func compileMatcher[A any](c *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate, ctx *TreeContext[A]) (Matcher, error) {
	var custom *xdscorev3.TypedExtensionConfig
	switch x := c.GetMatcher().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch:
		m, err := compileXDSString(x.ValueMatch)
		if err != nil {
			return nil, fmt.Errorf("value_match: %w", err)
		}
		return m, nil
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch:
		custom = x.CustomMatch
	default:
		return nil, fmt.Errorf("has no matcher: set value_match or custom_match")
	}
	msg, _ := unpack(custom.GetTypedConfig())
	var err error
	switch x := msg.(type) {
	case *ipv3.Ip:
		var set *CIDRs
		if set, err = CompileCIDRs(x.GetCidrRanges()); err != nil {
			return nil, fmt.Errorf("custom_match: cidr_ranges%w", err)
		}
		return ipMatcher{set}, nil
	case *metadatav3.Metadata:
		var v *ValueMatcher
		if v, err = CompileValue(x.GetValue()); err != nil {
			return nil, fmt.Errorf("custom_match: value: %w", err)
		}
		return metadataMatcher{v, x.GetInvert()}, nil
	case *hashingv3.ConsistentHashing:
		if x.GetModulo() == 0 {
			return nil, fmt.Errorf("custom_match: modulo is 0")
		}
		return hashMatcher{uint64(x.GetThreshold()), uint64(x.GetModulo()), x.GetSeed()}, nil
	case *fractionv3.RuntimeFraction:
		return fractionMatcher{CompileRuntimeFraction(x.GetRuntimeFraction()), x.GetSeed(), ctx.Runtime}, nil
	}
	if ctx.Matcher != nil {
		return ctx.Matcher(custom)
	}
	return nil, fmt.Errorf("custom_match %q of type %q is not supported", custom.GetName(), custom.GetTypedConfig().GetTypeUrl())
}
