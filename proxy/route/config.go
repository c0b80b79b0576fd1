// SPDX-License-Identifier: Apache-2.0

package route

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/streaminfo"
)

// Context is what compiling a table needs from its surroundings. A nil
// function means that there is nothing of its kind; what would need it is then
// a problem.
type Context struct {
	// Runtime is asked at match time; nil is a runtime without keys.
	Runtime match.Runtime
	// CompileFormat compiles a string that has command operators. As Envoy has
	// it for headers, an operator without a value must print nothing, not "-".
	CompileFormat func(s string) (Formatter, error)
	// CompileBodyFormat compiles a direct response's body_format, and returns
	// the content type it implies.
	CompileBodyFormat func(f *corev3.SubstitutionFormatString) (Formatter, string, error)
	// CompileFilterConfig compiles the per-route configuration of the filter
	// called name. [ErrUnknownFilter] is no problem if the configuration is
	// optional.
	CompileFilterConfig func(name string, cfg *anypb.Any) (any, error)
	// HasCluster tells whether a cluster exists. It is asked if
	// validate_clusters is set, and by default if Static is.
	HasCluster func(name string) bool
	// Static tells that the table stands in the connection manager itself
	// (route_config) and was not fetched by RDS.
	Static bool
	// RetryHostPredicate, RetryPriority, RedirectPredicate and
	// RateLimitExtension compile extensions by name.
	RetryHostPredicate func(name string, cfg *anypb.Any) (any, error)
	RetryPriority      func(name string, cfg *anypb.Any) (any, error)
	RedirectPredicate  func(name string, cfg *anypb.Any) (RedirectPredicate, error)
	RateLimitExtension func(name string, cfg *anypb.Any) (any, error)
	// MatchInput and MatchMatcher compile inputs and matchers of matcher trees
	// that package match does not know, such as CEL.
	MatchInput   func(cfg *xdscorev3.TypedExtensionConfig) (match.Input, error)
	MatchMatcher func(cfg *xdscorev3.TypedExtensionConfig) (match.Matcher, error)
	// Before, if not nil, is the table that an equal Context made of the configuration
	// before this one. What has not changed is taken from it: a changed virtual host
	// costs that virtual host, whatever their number. Files that a virtual host names are
	// read when it changes.
	Before *Table
	// ReadFile reads a data source; os.ReadFile by default.
	ReadFile func(name string) ([]byte, error)
}

// ErrUnknownFilter is returned by [Context.CompileFilterConfig] if there is no
// filter for a configuration.
var ErrUnknownFilter = errors.New("no filter takes this configuration")

// Problem is one thing that is wrong with a route configuration.
type Problem struct {
	// Path leads to the field from the RouteConfiguration:
	// virtual_hosts[0].routes[3].match.
	Path string
	// Reason says what is wrong and what would be right, in lower case.
	Reason string
	// Warning tells that the table stands all the same: the field is not
	// supported and has no effect.
	Warning bool
}

// Error formats the problem on one line.
func (p Problem) Error() string { return p.Path + ": " + p.Reason }

// Compile compiles a route configuration. All problems are returned, not only
// the first; the table is nil if any of them is more than a warning.
func Compile(rc *routev3.RouteConfiguration, ctx Context) (*Table, []Problem) {
	c := newCompiler(ctx)
	if rc == nil {
		c.reject("there is no route configuration")
		return nil, *c.problems
	}
	return c.compile(rc)
}

func (c *compiler) compile(rc *routev3.RouteConfiguration) (*Table, []Problem) {
	t := c.table(rc)
	for _, p := range *c.problems {
		if !p.Warning {
			return nil, *c.problems
		}
	}
	return t, *c.problems
}

func newCompiler(ctx Context) *compiler {
	if ctx.ReadFile == nil {
		ctx.ReadFile = os.ReadFile
	}
	return &compiler{ctx: ctx, problems: &[]Problem{}, seen: map[Problem]bool{}}
}

// compiler compiles one table. It is copied for each step down the tree of
// messages, so that path always leads to the message at hand.
type compiler struct {
	ctx      Context
	path     string
	problems *[]Problem
	seen     map[Problem]bool
	scratch  *sync.Pool
	shared   *sharing
	encoded  []byte // memory for messages
	maxBody  uint64
	pseudo   bool // headers to set may be pseudo-header fields
}

// at returns a compiler for a field below.
func (c *compiler) at(format string, args ...any) *compiler {
	d := *c
	p := fmt.Sprintf(format, args...)
	if d.path != "" && !strings.HasPrefix(p, "[") {
		p = "." + p
	}
	d.path += p
	return &d
}

// reject records a problem that the table cannot stand with.
func (c *compiler) reject(format string, args ...any) {
	c.report(Problem{Path: c.path, Reason: fmt.Sprintf(format, args...)})
}

// warn records a field that has no effect.
func (c *compiler) warn(format string, args ...any) {
	c.report(Problem{Path: c.path, Reason: fmt.Sprintf(format, args...), Warning: true})
}

// fail records an error, if there is one, and reports whether there was none.
func (c *compiler) fail(err error) bool {
	if err == nil {
		return true
	}
	c.reject("%v", err)
	return false
}

func (c *compiler) report(p Problem) {
	if !c.seen[p] {
		c.seen[p] = true
		*c.problems = append(*c.problems, p)
	}
}

// defaultMaxBody is max_direct_response_body_size_bytes by default.
const defaultMaxBody = 4096

func (c *compiler) table(rc *routev3.RouteConfiguration) *Table {
	t := c.begun(rc)
	from := &origin{base: t.from.base, levels: t.from.levels, mirrors: t.from.mirrors, shared: t.from.shared, hosts: rc.GetVirtualHosts()}
	from.sums = make([]sum, 0, len(from.hosts))
	before := lookupOf(t)
	t.VirtualHosts = make([]*VirtualHost, 0, len(from.hosts))
	for i, v := range from.hosts {
		vh, s := before.find(c, i, v)
		if vh == nil {
			vc := c.at("virtual_hosts[%d]", i)
			vc.constraints(v.ValidateAll())
			vh = vc.virtualHost(v, t)
		}
		t.VirtualHosts, from.sums = append(t.VirtualHosts, vh), append(from.sums, s)
	}
	if t.hosts == nil || !slices.Equal(before.hosts, t.VirtualHosts) {
		t.hosts = c.index(t.VirtualHosts, from.hosts)
	}
	if rc.GetVhds() != nil {
		from.rc = rc
	}
	t.from = from
	from.shared.compiled()
	validate := c.ctx.Static
	if v := rc.GetValidateClusters(); v != nil {
		validate = v.Value
	}
	if validate && c.ctx.HasCluster != nil {
		for i, vh := range t.VirtualHosts {
			c.at("virtual_hosts[%d]", i).checkClusters(vh)
		}
	}
	return t
}

// base compiles all of a route configuration but its virtual hosts, which rc has not.
func (c *compiler) base(rc *routev3.RouteConfiguration) *Table {
	c.constraints(rc.ValidateAll())
	t := &Table{
		Name:       rc.GetName(),
		Metadata:   c.metadata(rc.GetMetadata()),
		hostHeader: header.Authority,
		ignorePort: rc.GetIgnorePortInHostMatching(),
		common: &common{
			ignoreParams:     rc.GetIgnorePathParametersInPathMatching(),
			mostSpecificWins: rc.GetMostSpecificHeaderMutationsWins(),
			runtime:          c.ctx.Runtime,
			scratch:          c.scratch,
		},
	}
	if n := rc.GetVhostHeader(); n != "" {
		t.hostHeader = requestHeader(n)
	}
	for _, n := range rc.GetInternalOnlyHeaders() {
		t.InternalOnlyHeaders = append(t.InternalOnlyHeaders, header.NewName(n))
	}
	if rc.GetVhds() != nil && c.ctx.Static {
		c.at("vhds").reject("virtual hosts are delivered only for route configurations that are delivered themselves: use rds, or put the virtual hosts into virtual_hosts")
	}
	c.rejectSpecifiers(rc.GetRouteSpecifiers())
	for i, p := range rc.GetClusterSpecifierPlugins() {
		if p.GetIsOptional() {
			c.at("cluster_specifier_plugins[%d]", i).warn("cluster specifier plugin %q is not supported", p.GetExtension().GetName())
		} else {
			c.at("cluster_specifier_plugins[%d]", i).reject("cluster specifier plugin %q is not supported: route to cluster, cluster_header or weighted_clusters", p.GetExtension().GetName())
		}
	}
	root := &level{
		request:  c.mutations("request", rc.GetRequestHeadersToAdd(), rc.GetRequestHeadersToRemove()),
		response: c.mutations("response", rc.GetResponseHeadersToAdd(), rc.GetResponseHeadersToRemove()),
		filters:  c.filters(rc.GetTypedPerFilterConfig()),
	}
	t.from = &origin{levels: below(nil, root), mirrors: c.mirrors(rc.GetRequestMirrorPolicies()), shared: newSharing()}
	return t
}

// index enters the domains of all virtual hosts.
func (c *compiler) index(all []*VirtualHost, from []*routev3.VirtualHost) *hosts {
	h, by := newHosts(), new(edit)
	for i, v := range from {
		c.at("virtual_hosts[%d]", i).domains(h, by, v, all[i])
	}
	return h
}

// domains enters the domains of a virtual host.
func (c *compiler) domains(h *hosts, by *edit, v *routev3.VirtualHost, vh *VirtualHost) {
	for j, d := range v.GetDomains() {
		if d == "" {
			c.at("domains[%d]", j).reject("is empty: name a host, a wildcard or \"*\"")
			continue
		}
		if has := h.get(d); has != nil {
			c.at("domains[%d]", j).reject("domain %q is in virtual host %q already: a domain may stand once in a route configuration", d, has.Name)
			continue
		}
		h.set(by, d, vh)
	}
}

// checkClusters rejects routes to clusters that do not exist.
func (c *compiler) checkClusters(vh *VirtualHost) {
	var names []string
	vh.eachRoute(func(j int, r *Route) {
		names = r.ClusterNames(names[:0])
		for _, n := range names {
			if !c.ctx.HasCluster(n) {
				c.at("routes[%d]", j).reject("cluster %q does not exist: define it, or set validate_clusters to false", n)
			}
		}
	})
}

// eachRoute calls f with every route, those of a matcher numbered on.
func (v *VirtualHost) eachRoute(f func(i int, r *Route)) {
	for i, r := range v.Routes {
		f(i, r)
	}
	if v.tree == nil {
		return
	}
	i := 0
	v.tree.Actions(func(s *routeSet) {
		for _, r := range s.routes {
			f(i, r)
			i++
		}
	})
}

func (c *compiler) rejectSpecifiers(specs []*corev3.TypedExtensionConfig) {
	for i, s := range specs {
		c.at("route_specifiers[%d]", i).reject("route specifier %q is not supported", s.GetName())
	}
}

// metadata copies filter_metadata. Typed metadata needs an extension to read
// it, of which there are none.
func (c *compiler) metadata(m *corev3.Metadata) streaminfo.Metadata {
	if len(m.GetTypedFilterMetadata()) > 0 {
		c.at("metadata.typed_filter_metadata").warn("typed metadata is not supported: use filter_metadata")
	}
	if len(m.GetFilterMetadata()) == 0 {
		return nil
	}
	md := make(streaminfo.Metadata, len(m.FilterMetadata))
	for ns, s := range m.FilterMetadata {
		md[ns] = structMap(s)
	}
	return md
}

func structMap(s *structpb.Struct) map[string]any {
	if m := s.AsMap(); m != nil {
		return m
	}
	return map[string]any{}
}

// format compiles a string that may have command operators.
func (c *compiler) format(s string) *value {
	if s == "" {
		return nil
	}
	if !strings.Contains(s, "%") {
		return &value{text: s}
	}
	if c.ctx.CompileFormat == nil {
		c.reject("%q has command operators, which are not supported here", s)
		return &value{text: s}
	}
	f, err := c.ctx.CompileFormat(s)
	if !c.fail(err) {
		return &value{text: s}
	}
	return &value{format: f}
}

// formatter is format for fields that are always kept as a Formatter.
func (c *compiler) formatter(s string) Formatter {
	v := c.format(s)
	switch {
	case v == nil:
		return nil
	case v.format != nil:
		return v.format
	}
	return fixed(v.text)
}

// fixed is a Formatter of text without operators.
type fixed string

func (f fixed) AppendTo(dst []byte, _ *streaminfo.Stream) []byte { return append(dst, f...) }
