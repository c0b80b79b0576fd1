// SPDX-License-Identifier: Apache-2.0

// Package envoyproxy reads EnvoyProxy: how proxies are run, and what they tell of requests.
package envoyproxy

import (
	"fmt"
	"reflect"
	"slices"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/envoygateway/cluster"
	"weir.dev/weir/control/policy/envoygateway/sheet"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
	"weir.dev/weir/xds/attribute"
)

// A Proxy is what an EnvoyProxy says: how proxies are run, and what they tell.
type Proxy struct {
	Parameters v1alpha1.GatewayParametersSpec
	// Manager is on the HttpConnectionManager of chains with routes, TCP on the TcpProxy of
	// others.
	Manager, TCP graph.Overlay
	// Tracing is of requests; nil is none. See ManagerOf.
	Tracing *build.Tracing
	// Moves change the order of HTTP filters.
	Moves []graph.Move
	// Listed has routes looked for in the order that HTTPRoutes list them in, and not by what
	// matches more.
	Listed bool
	// Filters are of all chains with routes: each is its configuration, by its name.
	Filters map[string]proto.Message
	// Routing is where requests for Services go, as attach.Effect has it.
	Routing string
	// Sized has clusters have statistics of the sizes of requests and responses.
	Sized bool
	// HostStats has virtual hosts have statistics.
	HostStats bool
	// Certificate is what backends are shown; nil is none. Owner is the EnvoyProxy that says
	// so: names are in its namespace.
	Certificate *gwapiv1.SecretObjectReference
	Owner       source.Name
	// Clusters are those of who is told.
	Clusters []graph.ClusterID
	// Logs are of each listener: of connections that no chain takes.
	Logs []*accesslogv3.AccessLog
	// Merges has it merged over that of the class.
	Merges bool
	// Refused are reasons not to take it, Notes are of what is not honoured.
	Refused, Notes []graph.Problem
}

// stack is an EnvoyProxy and the one that it is merged over.
type stack struct{ own, base source.Name }

// Proxies reads EnvoyProxies. It serves one memo.DB.
type Proxies struct {
	callees *cluster.Callees
	read    *memo.Func[stack, *Proxy]
}

// New returns Proxies who tell what they do to those that callees finds. What they leave out
// is in its Default.
func New(callees *cluster.Callees) *Proxies {
	p := &Proxies{callees: callees}
	p.read = memo.NewFunc(p.compile, func(a, b *Proxy) bool { return reflect.DeepEqual(a, b) })
	return p
}

// Get returns what an EnvoyProxy says, merged over another if it asks for it; nil if there
// is none called name. The zero Name is the default of all.
func (p *Proxies) Get(c *memo.Ctx, name, base source.Name) *Proxy {
	return p.read.Get(c, stack{name, base})
}

func (p *Proxies) compile(c *memo.Ctx, at stack) *Proxy {
	spec := p.spec(c, at.own)
	if spec == nil {
		return nil
	}
	owner, certifier := at.own, at.own // What they name is in their namespaces.
	merges := spec.MergeType != nil && *spec.MergeType != "Replace"
	if base := p.spec(c, at.base); base != nil && merges && at.base != (source.Name{}) {
		if spec.Telemetry == nil {
			owner = at.base
		}
		if spec.BackendTLS == nil {
			certifier = at.base
		}
		spec = attach.MergeSpec(spec, base, *spec.MergeType)
	}
	if d := p.callees.Default; d != nil && at.own != (source.Name{}) {
		if spec.Telemetry == nil {
			owner = source.Name{}
		}
		if spec.BackendTLS == nil {
			certifier = source.Name{}
		}
		spec = attach.MergeSpec(spec, d, "StrategicMerge")
	}
	x := &reader{callees: p.callees, ctx: c, owner: source.Key{Kind: source.EnvoyProxy, Name: owner}, out: &Proxy{Merges: merges, Owner: certifier, Listed: ptr.Deref(spec.PreserveRouteOrder, false)}}
	if v := spec.Provider; v != nil {
		x.provider(v)
	}
	if t := spec.Telemetry; t != nil {
		x.telemetry(t)
	}
	x.process(spec)
	x.moves(spec.FilterOrder)
	if spec.BackendTLS != nil {
		x.backendTLS(spec.BackendTLS)
	}
	x.families(spec.IPFamily)
	x.out.Parameters.MergeGateways = spec.MergeGateways
	x.rest(spec)
	x.check()
	x.out.Refused, x.out.Notes = x.Refused, x.Notes
	return x.out
}

func (p *Proxies) spec(c *memo.Ctx, name source.Name) *api.EnvoyProxySpec {
	if name == (source.Name{}) {
		return p.callees.Default
	}
	if o, ok := source.Get[*api.EnvoyProxy](c, source.EnvoyProxy, name); ok {
		return &o.Spec
	}
	return nil
}

type reader struct {
	sheet.Sheet

	callees *cluster.Callees
	ctx     *memo.Ctx
	owner   source.Key
	out     *Proxy
}

// rest notes what is not honoured.
func (x *reader) rest(s *api.EnvoyProxySpec) {
	x.Unsupported("mergeBackends", s.MergeBackends, "routes to one port of a backend always share its cluster")
	x.Unsupported("luaValidation", s.LuaValidation, "there is no Lua")
	x.Unsupported("lua", s.Lua, "there is no Lua")
	x.Unsupported("dynamicModules", s.DynamicModules, "there are no dynamic modules")
	x.Unsupported("geoIP", s.GeoIP, "nothing tells where addresses are")
	x.out.Routing = x.Routing(s.RoutingType)
	if m := ptr.Deref(s.MergeType, "Replace"); m != "Replace" && m != "StrategicMerge" && m != "JSONMerge" {
		x.Bad("mergeType", "is %q: there are Replace, StrategicMerge and JSONMerge", m)
	}
}

func (x *reader) telemetry(t *api.ProxyTelemetry) {
	if a := t.AccessLog; a != nil && !ptr.Deref(a.Disable, false) {
		x.accessLog(a.Settings)
	}
	if m := t.Metrics; m != nil {
		x.metrics(m)
	}
	if t.Tracing != nil {
		x.tracing(t.Tracing)
	}
	x.Unsupported("telemetry.requestID", t.RequestID, "requests have ids as Envoy gives them")
	x.Unsupported("telemetry.healthCheckLog", t.HealthCheckLog, "what checks come to is in the statistics")
}

// defaultFields are what a record has if nobody says.
func defaultFields() map[string]string {
	return map[string]string{
		"start_time": "%START_TIME%", "method": "%REQ(:METHOD)%", "x-envoy-origin-path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
		"protocol": "%PROTOCOL%", "response_code": "%RESPONSE_CODE%", "response_flags": "%RESPONSE_FLAGS%",
		"response_code_details": "%RESPONSE_CODE_DETAILS%", "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
		"upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%", "bytes_received": "%BYTES_RECEIVED%", "bytes_sent": "%BYTES_SENT%",
		"duration": "%DURATION%", "x-envoy-upstream-service-time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "x-forwarded-for": "%REQ(X-FORWARDED-FOR)%",
		"user-agent": "%REQ(USER-AGENT)%", "x-request-id": "%REQ(X-REQUEST-ID)%", ":authority": "%REQ(:AUTHORITY)%", "upstream_host": "%UPSTREAM_HOST%",
		"upstream_cluster": "%UPSTREAM_CLUSTER%", "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%", "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
		"downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%", "requested_server_name": "%REQUESTED_SERVER_NAME%", "route_name": "%ROUTE_NAME%",
	}
}

// accessLog says what is told of each request. Without settings it is all fields, to
// standard output.
func (x *reader) accessLog(list []api.AccessLogSetting) {
	if len(list) == 0 {
		list = []api.AccessLogSetting{{Sinks: []api.AccessLogSink{{Type: "File", File: &api.FileSink{Path: "/dev/stdout"}}}}}
	}
	var routes []*accesslogv3.AccessLog
	for i, s := range list {
		at := fmt.Sprintf("telemetry.accessLog.settings[%d]", i)
		format := x.format(at+".format", s.Format)
		kind := ptr.Deref(s.Type, "")
		if !slices.Contains([]string{"", "Listener", "Route", "Upstream"}, kind) {
			x.Bad(at+".type", "is %q: there are Listener, Route and Upstream", kind)
		}
		if kind == "Upstream" {
			x.Note(at+".type", "logs of attempts are not supported: records of requests have the last")
			continue
		}
		if !x.compiles(at+".matches", s.Matches) {
			continue
		}
		for j, sink := range s.Sinks {
			path := fmt.Sprintf("%s.sinks[%d]", at, j)
			l := x.sink(path, &sink, format, s.Matches)
			switch {
			case l == nil:
			case kind == "Listener":
				x.out.Logs = append(x.out.Logs, l)
			default:
				routes = append(routes, l)
			}
		}
	}
	if len(routes) > 0 {
		x.out.Manager.Message = &hcmv3.HttpConnectionManager{AccessLog: routes}
		x.out.TCP.Message = &tcpproxyv3.TcpProxy{AccessLog: routes}
	}
}

// compiles reports whether all expressions are right. Records of a log whose are not are
// not written: they might be those of anything.
func (x *reader) compiles(at string, expressions []string) bool {
	good := true
	for i, text := range expressions {
		if err := attribute.Check(text); err != nil {
			x.Bad(fmt.Sprintf("%s[%d]", at, i), "is not an expression of CEL over Envoy's attributes: %v", err)
			good = false
		}
	}
	return good
}

// sink is where records go; nil if that cannot be.
func (x *reader) sink(at string, s *api.AccessLogSink, format build.LogFormat, matches []string) *accesslogv3.AccessLog {
	switch {
	case s.Type == "File" && s.File != nil && s.File.Path != "":
		return build.FileLog(s.File.Path, format, matches)
	case s.Type == "File":
		x.Bad(at+".file.path", "is required")
	case s.Type == "OpenTelemetry" && s.OpenTelemetry != nil:
		o := s.OpenTelemetry
		c, found := x.collector(at+".openTelemetry", &o.BackendCluster, o.Host, o.Port, graph.GRPC)
		if !found {
			return nil
		}
		if format.Text == "" && len(format.Fields) == 0 {
			format.Fields = defaultFields()
		}
		c.Headers, c.Resource = x.sent(at+".openTelemetry.headers", o.Headers), o.ResourceAttributes
		if len(c.Resource) == 0 {
			c.Resource = o.Resources
		}
		return c.Log(format, matches)
	case s.Type == "OpenTelemetry":
		x.Bad(at+".openTelemetry", "is required")
	case s.Type == "ALS" && s.ALS != nil:
		return x.entries(at+".als", s.ALS, matches)
	case s.Type == "ALS":
		x.Bad(at+".als", "is required")
	default:
		x.Bad(at+".type", "is %q: there are File, ALS and OpenTelemetry", s.Type)
	}
	return nil
}

func (x *reader) format(at string, f *api.AccessLogFormat) build.LogFormat {
	if f == nil {
		return build.LogFormat{Fields: defaultFields()}
	}
	kind := ptr.Deref(f.Type, "")
	switch {
	case kind == "JSON" || kind == "" && len(f.JSON) > 0:
		if len(f.JSON) == 0 {
			return build.LogFormat{Fields: defaultFields()}
		}
		return build.LogFormat{Fields: f.JSON}
	case kind == "Text" || kind == "":
		return build.LogFormat{Text: ptr.Deref(f.Text, "")}
	}
	x.Bad(at+".type", "is %q: there are Text and JSON", kind)
	return build.LogFormat{}
}
