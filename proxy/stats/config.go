// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"fmt"
	"slices"

	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"weir.dev/weir/proxy/match"
)

// ParseConfig compiles stats_config of an Envoy bootstrap (envoy.config.metrics.v3.StatsConfig); nil gives the defaults.
//
// Honoured are stats_tags, use_all_default_tags (true unless false), allow_default_tag_overrides, stats_matcher and
// histogram_bucket_settings. An error names the field. histogram_bucket_settings.bins is accepted and has no effect, as
// buckets here are not allocated in advance.
func ParseConfig(p *metricsv3.StatsConfig) (*Config, error) {
	if p == nil {
		return DefaultConfig(), nil
	}
	c := &Config{defaults: DefaultBuckets()}
	var err error
	if c.hidden, err = parseHidden(p.GetStatsMatcher()); err != nil {
		return nil, err
	}
	if err := c.parseTags(p); err != nil {
		return nil, err
	}
	for i, b := range p.GetHistogramBucketSettings() {
		at := fmt.Sprintf("stats_config.histogram_bucket_settings[%d]", i)
		rule := bucketRule{bounds: slices.Clone(b.GetBuckets())}
		m, err := match.CompileString(b.GetMatch())
		if err != nil {
			return nil, fmt.Errorf("%s.match: %w", at, err)
		}
		rule.match = m.Match
		slices.Sort(rule.bounds)
		if len(rule.bounds) == 0 {
			return nil, fmt.Errorf("%s.buckets: is empty; give at least one upper bound", at)
		}
		if !(rule.bounds[0] > 0) {
			return nil, fmt.Errorf("%s.buckets: %v is not above 0", at, rule.bounds[0])
		}
		if len(slices.Compact(slices.Clone(rule.bounds))) < len(rule.bounds) {
			return nil, fmt.Errorf("%s.buckets: a bound is given twice; each must be unique", at)
		}
		c.buckets = append(c.buckets, rule)
	}
	return c, nil
}

func (c *Config) parseTags(p *metricsv3.StatsConfig) error {
	defaults := defaultRules()
	if u := p.GetUseAllDefaultTags(); u == nil || u.GetValue() {
		c.rules = slices.Clone(defaults)
	}
	var own []tagRule
	for i, t := range p.GetStatsTags() {
		at := fmt.Sprintf("stats_config.stats_tags[%d]", i)
		if t.GetTagName() == "" && t.GetTagValue() != nil {
			return fmt.Errorf("%s.tag_name: is empty; name the tag", at)
		}
		if f, ok := t.GetTagValue().(*metricsv3.TagSpecifier_FixedValue); ok {
			c.fixed = append(c.fixed, Tag{t.GetTagName(), f.FixedValue})
			continue
		}
		if len(t.GetRegex()) > 512 {
			return fmt.Errorf("%s.regex: is longer than 512 bytes", at)
		}
		if t.GetRegex() != "" {
			r, err := customRule(t.GetTagName(), t.GetRegex())
			if err != nil {
				return fmt.Errorf("%s.regex: %w", at, err)
			}
			own = append(own, r)
			continue
		}
		n := len(own)
		for _, r := range defaults {
			if r.tag == t.GetTagName() {
				own = append(own, r)
			}
		}
		if n == len(own) {
			return fmt.Errorf("%s: %q is not a default tag; give it a regex or a fixed_value", at, t.GetTagName())
		}
	}
	has := func(list []tagRule, tag string) bool {
		return slices.ContainsFunc(list, func(r tagRule) bool { return r.tag == tag })
	}
	if p.GetAllowDefaultTagOverrides().GetValue() {
		c.rules = slices.DeleteFunc(c.rules, func(d tagRule) bool {
			return has(own, d.tag) || slices.ContainsFunc(c.fixed, func(f Tag) bool { return f.Name == d.tag })
		})
	}
	// An own rule for a default tag applies only where the default finds nothing, so it comes after all others.
	var last []tagRule
	defaults = slices.Clone(c.rules)
	for _, r := range own {
		if has(defaults, r.tag) {
			last = append(last, r)
		} else {
			c.rules = append(c.rules, r)
		}
	}
	c.rules = append(ordered(c.rules), last...)
	return nil
}

func parseHidden(m *metricsv3.StatsMatcher) (func(string) bool, error) {
	any := func(field string, list *matcherv3.ListStringMatcher) (func(string) bool, error) {
		all := make([]func(string) bool, 0, len(list.GetPatterns()))
		for i, p := range list.GetPatterns() {
			f, err := match.CompileString(p)
			if err != nil {
				return nil, fmt.Errorf("stats_config.stats_matcher.%s.patterns[%d]: %w", field, i, err)
			}
			all = append(all, f.Match)
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("stats_config.stats_matcher.%s.patterns: is empty; give at least one", field)
		}
		return func(name string) bool {
			return slices.ContainsFunc(all, func(f func(string) bool) bool { return f(name) })
		}, nil
	}
	switch v := m.GetStatsMatcher().(type) {
	case *metricsv3.StatsMatcher_RejectAll:
		return func(string) bool { return v.RejectAll }, nil
	case *metricsv3.StatsMatcher_ExclusionList:
		return any("exclusion_list", v.ExclusionList)
	case *metricsv3.StatsMatcher_InclusionList:
		in, err := any("inclusion_list", v.InclusionList)
		return func(name string) bool { return !in(name) }, err
	}
	if m != nil {
		return nil, fmt.Errorf("stats_config.stats_matcher: is empty; give reject_all, exclusion_list or inclusion_list")
	}
	return func(string) bool { return false }, nil
}
