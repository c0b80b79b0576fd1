// SPDX-License-Identifier: Apache-2.0

package match

import (
	"fmt"
	"net/netip"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"weir.dev/weir/proxy/header"
)

// CompileString compiles a StringMatcher. The custom form names an extension,
// of which there are none.
func CompileString(c *matcherv3.StringMatcher) (*String, error) {
	switch p := c.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return newString(exact, p.Exact, c.IgnoreCase), nil
	case *matcherv3.StringMatcher_Prefix:
		return newString(prefix, p.Prefix, c.IgnoreCase), nil
	case *matcherv3.StringMatcher_Suffix:
		return newString(suffix, p.Suffix, c.IgnoreCase), nil
	case *matcherv3.StringMatcher_Contains:
		return newString(contains, p.Contains, c.IgnoreCase), nil
	case *matcherv3.StringMatcher_SafeRegex:
		re, err := CompileRegex(p.SafeRegex)
		if err != nil {
			return nil, fmt.Errorf("safe_regex: %w", err)
		}
		return &String{kind: regex, re: re}, nil
	case *matcherv3.StringMatcher_Custom:
		return nil, fmt.Errorf("custom: string matcher %q is not supported", p.Custom.GetName())
	}
	return nil, fmt.Errorf("string matcher is empty, it has no pattern: set exact, prefix, suffix, contains or safe_regex")
}

// compileXDSString compiles the same matcher in xDS's own package.
func compileXDSString(c *xdsmatcherv3.StringMatcher) (*String, error) {
	switch p := c.GetMatchPattern().(type) {
	case *xdsmatcherv3.StringMatcher_Exact:
		return newString(exact, p.Exact, c.IgnoreCase), nil
	case *xdsmatcherv3.StringMatcher_Prefix:
		return newString(prefix, p.Prefix, c.IgnoreCase), nil
	case *xdsmatcherv3.StringMatcher_Suffix:
		return newString(suffix, p.Suffix, c.IgnoreCase), nil
	case *xdsmatcherv3.StringMatcher_Contains:
		return newString(contains, p.Contains, c.IgnoreCase), nil
	case *xdsmatcherv3.StringMatcher_SafeRegex:
		re, err := NewRegex(p.SafeRegex.GetRegex(), 0)
		return &String{kind: regex, re: re}, err
	case *xdsmatcherv3.StringMatcher_Custom:
		return nil, fmt.Errorf("custom: string matcher %q is not supported", p.Custom.GetName())
	}
	return nil, fmt.Errorf("string matcher has no pattern: set exact, prefix, suffix, contains or safe_regex")
}

func newString(k stringKind, text string, fold bool) *String {
	if fold {
		text = lowerASCII(text)
	}
	return &String{kind: k, text: text, fold: fold}
}

// CompileStrings compiles matchers of which any may match.
func CompileStrings(cs []*matcherv3.StringMatcher) (Strings, error) {
	var l Strings
	for i, c := range cs {
		m, err := CompileString(c)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		l = append(l, m)
	}
	return l, nil
}

// CompileRegex compiles a RegexMatcher. google_re2.max_program_size, deprecated
// in Envoy, tightens MaxRegexSize.
func CompileRegex(c *matcherv3.RegexMatcher) (*Regex, error) {
	return NewRegex(c.GetRegex(), maxProgram(c))
}

func maxProgram(c *matcherv3.RegexMatcher) int {
	return int(c.GetGoogleRe2().GetMaxProgramSize().GetValue())
}

// CompileRewrite compiles a RegexMatchAndSubstitute.
func CompileRewrite(c *matcherv3.RegexMatchAndSubstitute) (*Rewrite, error) {
	return NewRewrite(c.GetPattern().GetRegex(), c.GetSubstitution(), maxProgram(c.GetPattern()))
}

// CompileHeader compiles a HeaderMatcher in its present and its older forms.
func CompileHeader(c *routev3.HeaderMatcher) (*Header, error) {
	if c.GetName() == "" {
		return nil, fmt.Errorf("header matcher has no name")
	}
	m := &Header{
		name:         header.NewName(c.Name),
		invert:       c.InvertMatch,
		missingEmpty: c.TreatMissingHeaderAsEmpty,
		kind:         headerString,
		scratch:      newScratch(),
	}
	if m.name.String() == "host" {
		m.name = header.Authority // The codecs hold Host as :authority.
	}
	switch p := c.HeaderMatchSpecifier.(type) {
	case nil:
		m.kind, m.present = headerPresent, true
	case *routev3.HeaderMatcher_PresentMatch:
		m.kind, m.present = headerPresent, p.PresentMatch
	case *routev3.HeaderMatcher_RangeMatch:
		m.kind, m.lo, m.hi = headerRange, p.RangeMatch.GetStart(), p.RangeMatch.GetEnd()
	case *routev3.HeaderMatcher_ExactMatch:
		// An empty exact_match takes any value.
		if p.ExactMatch != "" {
			m.str = *newString(exact, p.ExactMatch, false)
		}
	case *routev3.HeaderMatcher_PrefixMatch:
		m.str = *newString(prefix, p.PrefixMatch, false)
	case *routev3.HeaderMatcher_SuffixMatch:
		m.str = *newString(suffix, p.SuffixMatch, false)
	case *routev3.HeaderMatcher_ContainsMatch:
		m.str = *newString(contains, p.ContainsMatch, false)
	case *routev3.HeaderMatcher_SafeRegexMatch:
		re, err := CompileRegex(p.SafeRegexMatch)
		if err != nil {
			return nil, fmt.Errorf("safe_regex_match: %w", err)
		}
		m.str = String{kind: regex, re: re}
	case *routev3.HeaderMatcher_StringMatch:
		s, err := CompileString(p.StringMatch)
		if err != nil {
			return nil, fmt.Errorf("string_match: %w", err)
		}
		m.str = *s
	default:
		return nil, fmt.Errorf("header matcher of type %T is not supported", p)
	}
	return m, nil
}

// CompileHeaders compiles matchers that must all match.
func CompileHeaders(cs []*routev3.HeaderMatcher) (Headers, error) {
	var l Headers
	for i, c := range cs {
		m, err := CompileHeader(c)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		l = append(l, m)
	}
	return l, nil
}

// CompileQuery compiles a QueryParameterMatcher.
func CompileQuery(c *routev3.QueryParameterMatcher) (*Query, error) {
	if c.GetName() == "" {
		return nil, fmt.Errorf("query parameter matcher has no name")
	}
	m := &Query{name: c.Name}
	switch p := c.QueryParameterMatchSpecifier.(type) {
	case nil:
	case *routev3.QueryParameterMatcher_PresentMatch:
		m.absent = !p.PresentMatch
	case *routev3.QueryParameterMatcher_StringMatch:
		s, err := CompileString(p.StringMatch)
		if err != nil {
			return nil, fmt.Errorf("string_match: %w", err)
		}
		m.str = s
	default:
		return nil, fmt.Errorf("query parameter matcher of type %T is not supported", p)
	}
	return m, nil
}

// CompileCookie compiles a CookieMatcher.
func CompileCookie(c *routev3.CookieMatcher) (*Cookie, error) {
	if c.GetName() == "" {
		return nil, fmt.Errorf("cookie matcher has no name")
	}
	s, err := CompileString(c.GetStringMatch())
	if err != nil {
		return nil, fmt.Errorf("string_match: %w", err)
	}
	return &Cookie{name: c.Name, str: s, invert: c.InvertMatch}, nil
}

// CompilePath compiles a PathMatcher.
func CompilePath(c *matcherv3.PathMatcher) (*Path, error) {
	s, err := CompileString(c.GetPath())
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	return &Path{str: s}, nil
}

// CompileFraction compiles a FractionalPercent.
func CompileFraction(c *typev3.FractionalPercent) Fraction {
	f := Fraction{N: c.GetNumerator(), Of: 100}
	switch c.GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		f.Of = 10_000
	case typev3.FractionalPercent_MILLION:
		f.Of = 1_000_000
	}
	return f
}

// CompileRuntimeFraction compiles a RuntimeFractionalPercent.
func CompileRuntimeFraction(c *corev3.RuntimeFractionalPercent) RuntimeFraction {
	return RuntimeFraction{Default: CompileFraction(c.GetDefaultValue()), Key: c.GetRuntimeKey()}
}

// CompileRuntimeFlag compiles a RuntimeFeatureFlag; without one the switch is on.
func CompileRuntimeFlag(c *corev3.RuntimeFeatureFlag) RuntimeFlag {
	if c == nil {
		return RuntimeFlag{Default: true}
	}
	return RuntimeFlag{Default: c.GetDefaultValue().GetValue(), Key: c.GetRuntimeKey()}
}

// cidrRange is a CidrRange of either package.
type cidrRange interface {
	GetAddressPrefix() string
}

// CompilePrefix compiles one CidrRange; the bits below the prefix are dropped,
// and a missing prefix_len is 0, as in Envoy.
func CompilePrefix(c *corev3.CidrRange) (netip.Prefix, error) {
	return newPrefix(c, c.GetPrefixLen().GetValue())
}

func newPrefix(c cidrRange, bits uint32) (netip.Prefix, error) {
	a, err := netip.ParseAddr(c.GetAddressPrefix())
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("address_prefix %q is no IP address", c.GetAddressPrefix())
	}
	if bits > uint32(a.BitLen()) {
		return netip.Prefix{}, fmt.Errorf("prefix_len %d of %s is over %d", bits, a, a.BitLen())
	}
	return netip.PrefixFrom(a, int(bits)).Masked(), nil
}

// CompileCIDRs compiles a set of ranges.
func CompileCIDRs(cs []*corev3.CidrRange) (*CIDRs, error) {
	set := &CIDRs{}
	for i, c := range cs {
		p, err := CompilePrefix(c)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		set.add(p, int32(i))
	}
	return set, nil
}

// CompileAddress compiles an AddressMatcher.
func CompileAddress(c *matcherv3.AddressMatcher) (*Address, error) {
	a := &Address{Ranges: &CIDRs{}, Invert: c.GetInvertMatch()}
	for i, r := range c.GetRanges() {
		p, err := newPrefix(r, r.GetPrefixLen().GetValue())
		if err != nil {
			return nil, fmt.Errorf("ranges[%d]: %w", i, err)
		}
		a.Ranges.add(p, int32(i))
	}
	return a, nil
}

// compileXDSPrefix compiles a CidrRange of xDS's own package.
func compileXDSPrefix(c *xdscorev3.CidrRange) (netip.Prefix, error) {
	return newPrefix(c, c.GetPrefixLen().GetValue())
}
