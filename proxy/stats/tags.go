// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"fmt"
	"regexp"
	"strings"
)

// A Config says what is made of names when they are shown: which are hidden, what becomes a tag, and which bounds a
// histogram has. It is immutable; [ParseConfig] makes it from a bootstrap's stats_config.
type Config struct {
	hidden   func(name string) bool
	fixed    []Tag
	rules    []tagRule
	buckets  []bucketRule
	defaults []float64
}

// bucketRule gives bounds to the histograms whose name it matches.
type bucketRule struct {
	match  func(name string) bool
	bounds []float64
}

// DefaultConfig shows everything, with Envoy's default tags and buckets.
func DefaultConfig() *Config {
	return &Config{hidden: func(string) bool { return false }, rules: ordered(defaultRules()), defaults: DefaultBuckets()}
}

// A tagRule takes one tag out of a name. Group 1 of its expression is what leaves the name, group 2 (or else group 1) the
// tag's value.
type tagRule struct {
	tag    string
	expr   *regexp.Regexp
	needs  string // a part every matching name has: spares most names the expression
	except string // a value which is not a tag
}

// bounds are the upper bounds by which a histogram is shown.
func (c *Config) bounds(name string) []float64 {
	for _, b := range c.buckets {
		if b.match(name) {
			return b.bounds
		}
	}
	return c.defaults
}

// extract takes the tags out of a name.
//
// Every rule looks at the whole name, so their order decides the order of tags alone; what they found is cut out at the end
// (stats_tags of envoy.config.metrics.v3.StatsConfig).
func (c *Config) extract(name string) (extracted string, tags []Tag) {
	tags = append(tags, c.fixed...)
	cut := make([]bool, len(name))
	seen := map[string]bool{}
	for i := range c.rules {
		r := &c.rules[i]
		if seen[r.tag] || !strings.Contains(name, r.needs) {
			continue
		}
		g := r.expr.FindStringSubmatchIndex(name)
		if len(g) < 4 || g[2] < 0 {
			continue
		}
		value := name[g[2]:g[3]]
		if len(g) > 4 && g[4] >= 0 {
			value = name[g[4]:g[5]]
		}
		if r.except != "" && value == r.except {
			continue
		}
		seen[r.tag] = true
		tags = append(tags, Tag{r.tag, value})
		for j := g[2]; j < g[3]; j++ {
			cut[j] = true
		}
	}
	if len(tags) == len(c.fixed) {
		return name, tags
	}
	rest := make([]byte, 0, len(name))
	for j := range len(name) {
		if !cut[j] {
			rest = append(rest, name[j])
		}
	}
	return string(rest), tags
}

// ordered puts rules that fit any name first, as Envoy does: it files the others by the name's first word, and the order of
// tags in its output follows from that.
func ordered(rules []tagRule) []tagRule {
	var first, rest []tagRule
	for _, r := range rules {
		if firstWord(r.expr.String()) == "" {
			first = append(first, r)
		} else {
			rest = append(rest, r)
		}
	}
	return append(first, rest...)
}

// firstWord is the literal first word of the names an expression matches: "cluster" of `^cluster\.`.
func firstWord(expr string) string {
	rest, ok := strings.CutPrefix(expr, "^")
	if !ok {
		return ""
	}
	n := 0
	for n < len(rest) && (rest[n] == '_' || rest[n] >= 'a' && rest[n] <= 'z' || rest[n] >= 'A' && rest[n] <= 'Z' ||
		rest[n] >= '0' && rest[n] <= '9') {
		n++
	}
	if strings.HasPrefix(rest[n:], `\.`) {
		return rest[:n]
	}
	return ""
}

// defaultRules are the tags Envoy knows by itself, under the names of its well_known_names.h.
func defaultRules() []tagRule {
	const (
		word    = `[^.]+`
		address = `(?:\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[[a-fA-F_\d]+\])_\d+`
		cipher  = `[\w-]+`
	)
	list := []struct{ tag, expr, needs, except string }{
		{"response_code", `_rq(_(\d{3}))$`, "_rq_", ""},
		{"response_code_class", `_rq_((\d))xx$`, "_rq_", ""},
		{"ssl_curve", `^(?:listener|cluster)\..*?\.ssl\.curves(\.(` + cipher + `))$`, ".ssl.curves.", ""},
		{"ssl_sigalg", `^(?:listener|cluster)\..*?\.ssl\.sigalgs(\.(` + cipher + `))$`, ".ssl.sigalgs.", ""},
		{"ssl_version", `^(?:listener|cluster)\..*?\.ssl\.versions(\.(TLSv\d\.\d))$`, ".ssl.versions.", ""},
		{"worker_id", `^(?:listener\.(?:` + address + `|` + word + `)\.|server\.|listener_manager\.)worker_((\d+)\.)`, "worker_", ""},
		{"local_http_ratelimit_prefix", `^((` + word + `)\.)http_local_rate_limit\.`, ".http_local_rate_limit.", ""},
		{"rbac_prefix", `^((` + word + `)\.)rbac\.`, ".rbac.", ""},

		{"dynamo_partition_id", `^http\.` + word + `\.dynamodb\.table\.` + word + `\.capacity\.` + word + `(\.__partition_id=(\w{7}))$`, ".dynamodb.table.", ""},
		{"dynamo_operation", `^http\.` + word + `\.dynamodb\.(?:operation|table\.` + word + `\.capacity)(\.(` + word + `))(?:\.|$)`, ".dynamodb.", ""},
		{"dynamo_table", `^http\.` + word + `\.dynamodb\.(?:table|error)\.((` + word + `)\.)`, ".dynamodb.", ""},
		{"ssl_cipher", `^listener\..*?\.ssl\.ciphers(\.(` + cipher + `))$`, ".ssl.ciphers.", ""},
		{"ssl_cipher", `^cluster\.` + word + `\.ssl\.ciphers(\.(` + cipher + `))$`, ".ssl.ciphers.", ""},
		{"http_conn_manager_prefix", `^listener\..*?\.http\.((` + word + `)\.)`, ".http.", ""},
		{"listener_address", `^listener\.((` + address + `|` + word + `)\.)`, "listener.", "admin"},
		{"rds_route_config", `^http\.` + word + `\.rds\.(([\w\-.]+)\.)\w+?$`, ".rds.", ""},
		{"scoped_rds_config", `^http\.` + word + `\.scoped_rds\.(([\w\-.]+)\.)\w+?$`, ".scoped_rds.", ""},
		{"rbac_http_prefix", `^http\.` + word + `\.rbac\.((` + word + `)\.)`, ".rbac.", "policy"},
		{"rbac_policy_name", `^http\.` + word + `\.rbac\.(?:` + word + `\.)??policy\.((` + word + `)\.)`, ".policy.", ""},
		{"proxy_protocol_version", `^proxy_proto\.(?:` + word + `\.)??(versions\.v(\d)\.)`, "proxy_proto.", ""},
		{"proxy_protocol_prefix", `^proxy_proto\.((` + word + `)\.)`, "proxy_proto.", "versions"},

		{"mongo_callsite", `^mongo\.` + word + `\.collection\.` + word + `\.callsite\.((` + word + `)\.)query\.`, ".callsite.", ""},
		{"mongo_collection", `^mongo\.` + word + `\.collection\.((` + word + `)\.)(?:.+\.)?query\.` + word + `$`, ".collection.", ""},
		{"mongo_cmd", `^mongo\.` + word + `\.cmd\.((` + word + `)\.)`, ".cmd.", ""},
		{"grpc_bridge_method", `^cluster\.` + word + `\.grpc\.` + word + `\.((` + word + `)\.)`, ".grpc.", ""},
		{"http_user_agent", `^http\.` + word + `\.user_agent\.((` + word + `)\.)`, ".user_agent.", ""},
		{"virtual_cluster", `^vhost\.` + word + `\.vcluster\.((` + word + `)\.)`, ".vcluster.", ""},
		{"fault_downstream_cluster", `^http\.` + word + `\.fault\.((` + word + `)\.)`, ".fault.", ""},
		{"grpc_bridge_service", `^cluster\.` + word + `\.grpc\.((` + word + `)\.)`, ".grpc.", ""},
		{"tcp_prefix", `^tcp\.((` + word + `)\.)`, "tcp.", ""},
		{"udp_prefix", `^udp\.((` + word + `)\.)`, "udp.", ""},
		{"clientssl_prefix", `^auth\.clientssl\.((` + word + `)\.)`, "auth.clientssl.", ""},
		{"ratelimit_prefix", `^ratelimit\.((` + word + `)\.)`, "ratelimit.", ""},
		{"cluster_name", `^cluster\.((` + word + `)\.)`, "cluster.", ""},
		{"ext_authz_prefix", `^cluster\.` + word + `\.ext_authz\.((` + word + `)\.)`, ".ext_authz.", ""},
		{"ext_authz_prefix", `^http\.` + word + `\.ext_authz\.((` + word + `)\.)`, ".ext_authz.", ""},
		{"http_conn_manager_prefix", `^http\.((` + word + `)\.)`, "http.", ""},
		{"virtual_host", `^vhost\.((` + word + `)\.)`, "vhost.", ""},
		{"mongo_prefix", `^mongo\.((` + word + `)\.)`, "mongo.", ""},
		{"route", `^vhost\.` + word + `\.route\.((` + word + `)\.)`, ".route.", ""},
		{"thrift_prefix", `^thrift\.((` + word + `)\.)`, "thrift.", ""},
		{"redis_prefix", `^redis\.((` + word + `)\.)`, "redis.", ""},
		{"local_network_ratelimit_prefix", `^local_rate_limit\.((` + word + `)\.)`, "local_rate_limit.", ""},
		{"local_listener_ratelimit_prefix", `^listener_local_ratelimit\.((` + word + `)\.)`, "listener_local_ratelimit.", ""},
		{"dns_filter_prefix", `^dns_filter\.((` + word + `)\.)`, "dns_filter.", ""},
		{"connection_limit_prefix", `^connection_limit\.((` + word + `)\.)`, "connection_limit.", ""},
	}
	rules := make([]tagRule, len(list))
	for i, r := range list {
		rules[i] = tagRule{"envoy." + r.tag, regexp.MustCompile(r.expr), r.needs, r.except}
	}
	return rules
}

// lookAhead is the one look-ahead that people write: Envoy's own rules had it before 1.18,
// and those of Istio still do. What follows it begins with a dot, be it at once or after
// what .*? takes.
const lookAhead = `(?=\.).*?\.`

// customRule is a rule of the configuration's own. Envoy reads it as ECMAScript does; here
// it is RE2, into which lookAhead can be put.
func customRule(tag, expr string) (tagRule, error) {
	re, err := regexp.Compile(strings.ReplaceAll(expr, lookAhead, `(?:\..*?)??\.`))
	if err != nil {
		return tagRule{}, fmt.Errorf("%w; expressions are RE2, which has no look-ahead: write [^.]+ where .*? had one", err)
	}
	if re.NumSubexp() == 0 {
		return tagRule{}, fmt.Errorf("%q has no capture group; put parentheses around what becomes the tag", expr)
	}
	return tagRule{tag: tag, expr: re}, nil
}
