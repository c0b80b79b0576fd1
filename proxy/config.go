// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	_ "embed"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"strings"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"

	"weir.dev/weir/internal/logging"
	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/accesslog/logfile"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/match/cel"
	"weir.dev/weir/proxy/ratelimit"
	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/runtime"
	"weir.dev/weir/proxy/secret"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/call"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
	"weir.dev/weir/xds/load"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Options are what a proxy is made with.
type Options struct {
	Bootstrap *bootstrapv3.Bootstrap
	// Positions tells where in its file each field of the bootstrap stands; nil
	// if that is not known.
	Positions *load.Positions
	// Concurrency is the number of event loops; 0 is one per processor.
	Concurrency int
	// DrainTime bounds how long the proxy takes to end; 0 is 600 s.
	DrainTime time.Duration
	// DrainImmediately announces the end on every response at once, rather than
	// on more and more of them.
	DrainImmediately bool
	// ServiceNode, ServiceCluster and ServiceZone replace what the bootstrap's
	// node says.
	ServiceNode, ServiceCluster, ServiceZone string
	// AdminAddressPath is a file to write the admin's address to; "" is none.
	AdminAddressPath string
	// Log is the process's log; nil discards it.
	Log        *slog.Logger
	Extensions *extension.Registry
	// Limiter answers filters whose rate limit service is the cluster
	// ratelimit.InProcess; nil is none.
	Limiter ratelimit.Limiter
	// Limits is told what a control plane has the Limiter know. Its error is why that cannot
	// be counted; what was known before goes on. Nil is a Limiter that takes none.
	Limits func([]*rlsconfv3.RateLimitConfig) error
	// Version is what /server_info tells.
	Version string
}

// setUp makes all that does not depend on listeners and clusters. checking keeps
// log files from being opened, and extensions from asking others.
func (p *Proxy) setUp(checking bool) error {
	o := &p.opts
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.DrainTime <= 0 {
		o.DrainTime = 600 * time.Second
	}
	for _, pr := range o.Positions.Locate(supported.Check(o.Bootstrap, "")) {
		if pr.Severity == xds.Error {
			return pr
		}
		p.log("config").Warn(pr.Error())
	}
	if err := p.bootstrapExtensions(); err != nil {
		return err
	}
	cfg, err := stats.ParseConfig(o.Bootstrap.GetStatsConfig())
	if err != nil {
		return fmt.Errorf("stats_config: %w", err)
	}
	p.store = stats.NewStore()
	p.store.Configure(cfg)
	if err := p.startRuntime(); err != nil {
		return err
	}
	if err := p.makeOverload(); err != nil {
		return err
	}
	if err := p.makeServices(checking); err != nil {
		return err
	}
	return p.runtime.Discover(p.resources)
}

func (p *Proxy) startRuntime() error {
	b := p.opts.Bootstrap
	cfg, err := runtime.Compile(b.GetLayeredRuntime(), p.node().Cluster)
	if err != nil {
		return fmt.Errorf("layered_runtime: %w", err)
	}
	p.runtime = runtime.New(cfg, p.store, p.log("runtime"))
	return nil
}

func (p *Proxy) node() extension.Node {
	n := p.opts.Bootstrap.GetNode()
	node := extension.Node{
		ID: n.GetId(), Cluster: n.GetCluster(),
		Region: n.GetLocality().GetRegion(), Zone: n.GetLocality().GetZone(), SubZone: n.GetLocality().GetSubZone(),
	}
	if n.GetMetadata() != nil {
		node.Metadata = n.GetMetadata().AsMap()
	}
	if p.opts.ServiceNode != "" {
		node.ID = p.opts.ServiceNode
	}
	if p.opts.ServiceCluster != "" {
		node.Cluster = p.opts.ServiceCluster
	}
	if p.opts.ServiceZone != "" {
		node.Zone = p.opts.ServiceZone
	}
	// A name that cannot be read is printed as empty, as formats print what is missing.
	node.Hostname, _ = os.Hostname()
	return node
}

func (p *Proxy) log(component string) *slog.Logger { return logging.Component(p.opts.Log, component) }

// makeServices makes what extensions are made with.
func (p *Proxy) makeServices(checking bool) error {
	shards := len(p.loops)
	files := logfile.Options{Shards: shards, Stats: p.fileStats()}
	if checking {
		files.Open = openNothing
	}
	p.files = logfile.NewSet(files)
	p.resources = resource.NewDirectory(p.log("config"))
	ads := p.opts.Bootstrap.GetDynamicResources().GetAdsConfig()
	p.resources.Aggregated = ads != nil
	p.resources.Delta = ads.GetApiType() == corev3.ApiConfigSource_DELTA_GRPC
	if err := p.resources.SetAuthorities(p.opts.Bootstrap.GetConfigSources(), p.opts.Bootstrap.GetDefaultConfigSource(), p.nodeParams()); err != nil {
		return err
	}
	if err := p.prepareFetching(); err != nil {
		return err
	}
	p.secrets = secret.NewStore(secret.Options{Log: p.log("secret"), Stats: p.store, Idle: checking, Servers: secret.Servers{Key: p.resources.Key, Wanted: p.secretWanted}})
	s := &extension.Services{
		Secrets:  p.secrets,
		Registry: p.opts.Extensions, Loops: p.loops, Stats: p.store, Clusters: p.clusters,
		Runtime: p.runtime, Health: &p.health, Node: p.node(), Log: p.log,
		Limiter: p.opts.Limiter, HasCluster: p.hasCluster, Checking: checking, Resources: p.resources,
		Tracing: p.opts.Bootstrap.GetTracing().GetHttp(),
	}
	s.UpstreamTransport = p.upstreamTransport
	s.AccessLogs = &accesslog.Context{
		CompileHeader: func(m *routev3.HeaderMatcher) (func(*header.Map) bool, error) {
			c, err := match.CompileHeader(m)
			if err != nil {
				return nil, err
			}
			return c.Match, nil
		},
		CompileValue: compileValue,
		Runtime:      accessLogRuntime{p.runtime},
	}
	s.Operators = cel.Operators()
	loader := &format.Loader{Options: format.Options{Hostname: s.Node.Hostname, Operators: s.Operators}}
	s.AccessLogs.Extensions = p.opts.Extensions.Filters()
	s.AccessLogs.Sinks = p.opts.Extensions.Sinks(s, p.files, loader)
	p.services = s
	return nil
}

func compileValue(m *matcherv3.ValueMatcher) (func(any, bool) bool, error) {
	c, err := match.CompileValue(m)
	if err != nil {
		return nil, err
	}
	return func(v any, ok bool) bool { return c.Match(v, ok) }, nil
}

// accessLogRuntime is the runtime as access log filters ask it.
type accessLogRuntime struct{ r *runtime.Runtime }

// Uint returns the number at a key, or fallback.
func (a accessLogRuntime) Uint(key string, fallback uint64) uint64 {
	if n, ok := a.r.Int(key); ok {
		return uint64(n)
	}
	return fallback
}

// Enabled reports whether random falls into the share at a key, or into the
// fallback.
func (a accessLogRuntime) Enabled(key string, numerator, denominator uint32, random uint64) bool {
	if f, ok := a.r.Fraction(key); ok {
		return f.Enabled(random)
	}
	return random%uint64(denominator) < uint64(numerator)
}

func (p *Proxy) fileStats() logfile.Stats {
	scope := p.store.Scope("filesystem.")
	return logfile.Stats{
		WriteBuffered: scope.Counter("write_buffered"), WriteCompleted: scope.Counter("write_completed"),
		WriteFailed: scope.Counter("write_failed"), FlushedByTimer: scope.Counter("flushed_by_timer"),
		ReopenFailed: scope.Counter("reopen_failed"), Dropped: p.store.Scope("access_log_file.").Counter("dropped"),
		TotalBuffered: scope.Gauge("write_total_buffered"),
	}
}

// upstreamContext is what clusters are compiled with.
func (p *Proxy) upstreamContext() *upstream.Context {
	node := p.node()
	c := &upstream.Context{
		Policies: p.opts.Extensions.Policies, Discoveries: p.opts.Extensions.Discoveries,
		Bind:         p.opts.Bootstrap.GetClusterManager().GetUpstreamBindConfig(),
		Transport:    p.upstreamTransport,
		Filters:      p.upstreamFilters,
		Stats:        p.store,
		Caller:       call.New(p.loops, p.clusters),
		Log:          p.log("upstream"),
		HealthChecks: p.healthChecks().Compile,
		Routes: route.Context{
			Runtime:            p.runtime,
			RetryHostPredicate: p.opts.Extensions.RetryHosts.CompileAny,
			RetryPriority:      p.opts.Extensions.RetryPriorities.CompileAny,
		},
		Resources: p.resources,
	}
	c.Local.Region, c.Local.Zone, c.Local.SubZone = node.Region, node.Zone, node.SubZone
	return c
}

// snapshot is what the bootstrap itself configures.
func (p *Proxy) snapshot() *xds.Snapshot {
	return xds.FromBootstrap(p.opts.Bootstrap, "bootstrap", p.opts.Positions.Origin)
}

// located gives a problem below a listener or cluster its place in the file.
func (p *Proxy) located(kind xds.Kind, name, origin string, err error) xds.Problem {
	path, reason := splitPath(strings.TrimPrefix(err.Error(), fmt.Sprintf("%s %q: ", kind, name)))
	pr := xds.Problem{Severity: xds.Error, Kind: kind, Name: name, Path: origin, Reason: reason}
	if path != "" {
		pr.Path = origin + "." + path
	}
	if pos, ok := place(p.opts.Positions, pr.Path); ok {
		pr.File, pr.Line, pr.Column = pos.File, pos.Line, pos.Column
	}
	return pr
}

// place finds where a path stands in the file, or the nearest thing around it; nowhere,
// if the path is of what came otherwise. What compiles extensions leaves out the
// typed_config that their fields stand in.
func place(positions *load.Positions, path string) (load.Position, bool) {
	at := ""
	for step := range steps(path) {
		for _, next := range []string{at + step, at + ".typed_config" + step} {
			next = strings.TrimPrefix(next, ".")
			if _, ok := positions.Exact(next); ok {
				at = next
				break
			}
		}
	}
	if at == "" {
		return load.Position{}, false
	}
	return positions.At(at)
}

// steps yields the parts of a path: ".a", "[0]", "[\"x.y\"]".
func steps(path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		path := "." + path
		for path != "" {
			end := len(path)
			if strings.HasPrefix(path, "[\"") {
				if i := strings.Index(path, "\"]"); i > 0 {
					end = i + 2
				}
			} else if i := strings.IndexAny(path[1:], ".["); i >= 0 {
				end = i + 1
			}
			if !yield(path[:end]) {
				return
			}
			path = path[end:]
		}
	}
}

// splitPath separates the fields that an error begins with, such as
// "filters[0] (hcm): http_filters[1] (x): reason", from its reason.
func splitPath(text string) (path, reason string) {
	for {
		head, rest, ok := strings.Cut(text, ": ")
		if !ok {
			return path, text
		}
		field, _, _ := strings.Cut(head, " (")
		if !isField(field) {
			return path, text
		}
		if path != "" {
			path += "."
		}
		path, text = path+field, rest
	}
}

// isField reports whether s is a path of fields. The key of a map in it is quoted, as
// in value["a.b"][0].
func isField(s string) bool {
	for {
		before, rest, quoted := strings.Cut(s, "[\"")
		if !quoted {
			break
		}
		_, after, closed := strings.Cut(rest, "\"]")
		if !closed || before == "" {
			return false
		}
		s = before + after
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("_.[]", c) {
			return false
		}
	}
	return s != ""
}

var errNoBootstrap = errors.New("no bootstrap: give a configuration")
