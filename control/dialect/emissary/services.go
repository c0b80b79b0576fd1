// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// services are those that all requests of an install are told to.
type services struct {
	// auth lets requests in; nil if there is none, or none that can be asked.
	auth *extauthzv3.ExtAuthz
	// limits says which requests are too many, and limiter who is asked; nil if there is none,
	// or none that can be asked. denies tells that requests which count are refused then.
	limits  *ratelimitv3.RateLimit
	limiter id
	denies  bool
	// tracing says which requests are traced, and who is told of them; nil if nobody is.
	tracing *hcmv3.HttpConnectionManager_Tracing
	// logs are told of requests.
	logs     []*accesslogv3.AccessLog
	clusters []graph.ClusterID
	// closed tells that there is an AuthService that cannot be asked: nobody is let in.
	closed bool
	// problems are of those that cannot be asked or told; notes are of what has no effect.
	problems, notes map[id][]graph.Problem
}

// same reports whether requests are told to the same services in the same way.
func (s *services) same(o *services) bool {
	return proto.Equal(s.auth, o.auth) && proto.Equal(s.limits, o.limits) && s.limiter == o.limiter && s.denies == o.denies && proto.Equal(s.tracing, o.tracing) &&
		slices.EqualFunc(s.logs, o.logs, func(a, b *accesslogv3.AccessLog) bool { return proto.Equal(a, b) }) &&
		slices.Equal(s.clusters, o.clusters) && s.closed == o.closed &&
		reflect.DeepEqual(s.problems, o.problems) && reflect.DeepEqual(s.notes, o.notes)
}

// readServices reads the AuthServices, RateLimitServices, TracingServices and LogServices
// of an install.
func (d *Dialect) readServices(c *memo.Ctx, install string) *services {
	out := &services{problems: map[id][]graph.Problem{}, notes: map[id][]graph.Problem{}}
	in := d.install.Get(c, install)
	if i := d.only(c, source.EmissaryAuthService, install, out); i != (id{}) {
		if bad := d.authorize(c, in, i, out); bad != nil {
			out.closed = true
			bad.Message += ": so that nobody is let in unasked, requests are answered 500 until it can be asked, but those of Mappings with bypass_auth"
			out.problems[i] = append(out.problems[i], *bad)
		}
	}
	if out.limiter = d.only(c, source.EmissaryRateLimitService, install, out); out.limiter != (id{}) {
		if bad := d.limit(c, in, out.limiter, out); bad != nil {
			becomes := "are not limited"
			if out.denies = d.denies(c, out.limiter); out.denies {
				becomes = "that have labels are answered 500, as failure_mode_deny asks"
			}
			bad.Message += ": until it can be asked, requests " + becomes
			out.problems[out.limiter] = append(out.problems[out.limiter], *bad)
		}
	}
	if i := d.only(c, source.EmissaryTracingService, install, out); i != (id{}) {
		if bad := d.trace(c, in, i, out); bad != nil {
			bad.Message += ": nothing is traced"
			out.problems[i] = append(out.problems[i], *bad)
		}
	}
	for _, i := range d.list(c, source.EmissaryLogService) {
		if !isFor(d.idsOfAny(c, i), install) {
			continue
		}
		if bad := d.logTo(c, in, i, out); bad != nil {
			bad.Message += ": no log is sent"
			out.problems[i] = []graph.Problem{*bad}
		}
	}
	return out
}

// only returns the service of a kind that an install has, zero if it has none. Of several
// it is the first by name, and the others are told so.
func (d *Dialect) only(c *memo.Ctx, k source.Kind, install string, out *services) id {
	asked := id{}
	for _, i := range d.list(c, k) {
		if !isFor(d.idsOfAny(c, i), install) {
			continue
		}
		if asked == (id{}) {
			asked = i
			continue
		}
		out.problems[i] = []graph.Problem{graph.Problemf("metadata.name", reasonConflict, "%s of the same install counts, and this one does not: an install has one; give them an ambassador_id each", asked)}
	}
	return asked
}

// specOf reads the spec of an object into what to points at, strictly.
func specOf(d *Dialect, c *memo.Ctx, i id, to any) *graph.Problem {
	o, ok := get[*emissaryv3.Foreign](d, c, i)
	if !ok {
		p := graph.Problemf("spec", reasonNotFound, "the object has gone")
		return &p
	}
	data, err := json.Marshal(o.Spec)
	if err == nil {
		strict := json.NewDecoder(bytes.NewReader(data))
		strict.DisallowUnknownFields()
		err = strict.Decode(to)
	}
	if err != nil {
		p := graph.Problemf("spec", reasonInvalid, "%s", misfit(err))
		return &p
	}
	return nil
}

// called finds a service that is asked or told for all requests.
func (d *Dialect) called(c *memo.Ctx, in *install, i id, field, text, tls string, secure bool, set *settings) (graph.ClusterID, service, *graph.Problem) {
	at, err := parseService(text, secure)
	if err != nil {
		p := graph.Problemf(field, reasonInvalid, "%v", err)
		return graph.ClusterID{}, at, &p
	}
	mode := graph.HTTP
	if set.GRPC {
		mode = graph.GRPC
	}
	endpoints, _ := in.resolves("")
	found, bad := d.find(c, i.Kind, at, d.namespaceOf(c, in, i), endpoints, mode)
	if bad != nil {
		bad.Path = field
		return graph.ClusterID{}, at, bad
	}
	if at.scheme == "https" || secure && at.scheme == "" {
		if set.TLS, bad = d.originate(c, in.name, tls, at.host); bad != nil {
			return graph.ClusterID{}, at, bad
		}
	}
	set.Connect, set.Family = connectTimeout, family(in.config.EnableIPv4, in.config.EnableIPv6)
	set.Idle, set.MaxAge, set.KeepAlive = in.config.ClusterIdleTimeout, in.config.ClusterMaxConnectionAge, in.config.KeepAlive
	p := &placed{}
	p.lead(found, set, func(bad graph.Problem) *placed {
		p.problems = append(p.problems, bad)
		return p
	})
	if len(p.problems) > 0 {
		return p.cluster, at, &p.problems[0]
	}
	return p.cluster, at, nil
}

// What Emissary tells an AuthService of HTTP of each request, and takes from its answers,
// besides what it is configured to.
func toldHeaders() []string {
	return []string{"authorization", "cookie", "from", "proxy-authorization", "user-agent", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
}

func answeredHeaders() []string {
	return []string{"location", "authorization", "proxy-authenticate", "set-cookie", "www-authenticate"}
}

const (
	authTimeout = 5000
	bodyBytes   = 4096 // of allow_request_body
)

// authorize makes the filter that asks an AuthService.
func (d *Dialect) authorize(c *memo.Ctx, in *install, i id, out *services) *graph.Problem {
	s := &emissaryv3.AuthServiceSpec{}
	if bad := specOf(d, c, i, s); bad != nil {
		return bad
	}
	var bad *graph.Problem
	wrong := func(path, reason, format string, args ...any) {
		p := graph.Problemf("spec."+path, reason, format, args...)
		bad = cmp.Or(bad, &p)
	}
	if s.Proto != "" && s.Proto != "http" && s.Proto != "grpc" {
		wrong("proto", reasonInvalid, "%q is not one of http and grpc", s.Proto)
	}
	grpc := s.Proto == "grpc"
	if v := s.ProtocolVersion; grpc && v != "" && v != "v3" {
		wrong("protocol_version", reasonUnsupported, "%q is not spoken any more: set v3", v)
	}
	if t := s.Timeout; t != nil && (*t < 1 || *t > longest) {
		wrong("timeout_ms", reasonInvalid, "%d is not a time from 1 to %d, in milliseconds", *t, longest)
	}
	if e := s.StatusOnError; e != nil && (e.Code < 100 || e.Code > 599) {
		wrong("status_on_error.code", reasonInvalid, "%d is not a status", e.Code)
	}
	if b := s.IncludeBody; b != nil && b.MaxBytes == 0 {
		wrong("include_body.max_bytes", reasonInvalid, "a body of 0 bytes is none: give a number, or leave include_body out")
	}
	if s.PathPrefix != "" && !strings.HasPrefix(s.PathPrefix, "/") {
		wrong("path_prefix", reasonInvalid, "%q does not begin with a slash", s.PathPrefix)
	}
	for _, name := range slices.Sorted(maps.Keys(s.AddAuthHeaders)) {
		if why := build.BadText(s.AddAuthHeaders[name]); why != "" {
			wrong("add_auth_headers."+name, reasonInvalid, "the value %s", why)
		} else if !build.FieldName(name) {
			wrong("add_auth_headers", reasonInvalid, "%q is not the name of a header", name)
		}
	}
	if grpc {
		out.notes[i] = ofHTTP(s)
	}
	breakers := s.CircuitBreakers
	if len(breakers) == 0 {
		breakers = s.V3CircuitBreakers
	}
	checkBreakers("circuit_breakers", breakers, wrong)
	if bad != nil {
		return bad
	}
	set := &settings{GRPC: grpc, StatsName: cmp.Or(s.StatsName, s.V3StatsName), Breakers: breakers}
	to, at, bad := d.called(c, in, i, "spec.auth_service", s.AuthService, s.TLS.Value, s.TLS.Value != "" || is(s.TLS.Bool), set)
	if bad != nil {
		return bad
	}
	f := build.AuthorizerFilter{
		Authorizer: build.Authorizer{Cluster: to.Name(), GRPC: grpc, Text: true, Timeout: authTimeout * time.Millisecond},
		FailOpen:   is(s.FailureModeAllow), Again: true,
	}
	if s.Timeout != nil {
		f.Timeout = time.Duration(*s.Timeout) * time.Millisecond
	}
	if e := s.StatusOnError; e != nil {
		f.Status = e.Code
	}
	if !grpc {
		f.Prefix = s.PathPrefix
		f.Request = union(toldHeaders(), s.AllowedRequestHeaders)
		f.Upstream = union(answeredHeaders(), s.AllowedAuthorizationHeaders)
		f.Client = f.Upstream
		f.Add = maps.Clone(s.AddAuthHeaders)
		if is(first(s.AddLinkerdHeaders, in.config.AddLinkerdHeaders)) {
			if f.Add == nil {
				f.Add = map[string]string{}
			}
			f.Add["l5d-dst-override"] = fmt.Sprintf("%s:%d", at.host, at.port)
		}
	}
	switch {
	case s.IncludeBody != nil:
		f.Body, f.Partial = s.IncludeBody.MaxBytes, s.IncludeBody.AllowPartial
	case is(s.AllowRequestBody):
		f.Body, f.Partial = bodyBytes, true
	}
	out.auth = f.Filter()
	out.clusters = append(out.clusters, to)
	return nil
}

// ofHTTP are fields that have no effect on a service of gRPC, as in Emissary.
func ofHTTP(s *emissaryv3.AuthServiceSpec) []graph.Problem {
	var out []graph.Problem
	for _, f := range []struct {
		name string
		is   bool
	}{
		{"add_auth_headers", len(s.AddAuthHeaders) > 0},
		{"add_linkerd_headers", is(s.AddLinkerdHeaders)},
		{"allowed_authorization_headers", len(s.AllowedAuthorizationHeaders) > 0},
		{"allowed_request_headers", len(s.AllowedRequestHeaders) > 0},
		{"path_prefix", s.PathPrefix != ""},
	} {
		if f.is {
			out = append(out, graph.Problemf("spec."+f.name, reasonInvalid, "has no effect: it is for proto http, and a service of grpc is told all of the request and decides itself what is added; leave it out"))
		}
	}
	return out
}

// union is two lists of header names as one, in lower case and in order.
func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, name := range b {
		out = append(out, strings.ToLower(name))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// The defaults of a LogService.
const (
	flushSeconds = 1
	flushBytes   = 16384
)

// logTo makes the access log that a LogService is sent.
func (d *Dialect) logTo(c *memo.Ctx, in *install, i id, out *services) *graph.Problem {
	s := &emissaryv3.LogServiceSpec{}
	if bad := specOf(d, c, i, s); bad != nil {
		return bad
	}
	if s.Driver != "tcp" && s.Driver != "http" {
		p := graph.Problemf("spec.driver", reasonInvalid, "%q is not one of tcp and http", s.Driver)
		return &p
	}
	if v := cmp.Or(s.ProtocolVersion, s.V3ProtocolVersion); v != "" && v != "v3" {
		p := graph.Problemf("spec.protocol_version", reasonUnsupported, "%q is not spoken any more: set v3", v)
		return &p
	}
	headers := s.DriverConfig.AdditionalLogHeaders
	if s.Driver == "tcp" && len(headers) > 0 {
		p := graph.Problemf("spec.driver_config.additional_log_headers", reasonInvalid, "entries of the driver tcp have no headers: set http, or leave them out")
		return &p
	}
	if at := slices.IndexFunc(headers, func(h emissaryv3.LogHeader) bool { return h.Name == "" }); at >= 0 {
		p := graph.Problemf(fmt.Sprintf("spec.driver_config.additional_log_headers[%d].header_name", at), reasonInvalid, "is missing: name the header")
		return &p
	}
	set := &settings{GRPC: true, StatsName: cmp.Or(s.StatsName, s.V3StatsName)}
	to, _, bad := d.called(c, in, i, "spec.service", s.Service, "", false, set)
	if bad != nil {
		return bad
	}
	e := build.Entries{Name: i.Name.Name, TCP: s.Driver == "tcp", Interval: flushSeconds * time.Second, Bytes: flushBytes}
	if s.FlushInterval != nil && *s.FlushInterval > 0 {
		e.Interval = time.Duration(*s.FlushInterval) * time.Second
	}
	if s.FlushBytes != nil && *s.FlushBytes > 0 {
		e.Bytes = *s.FlushBytes
	}
	for _, h := range headers {
		for _, l := range []struct {
			during *bool
			to     *[]string
		}{{h.Request, &e.Request}, {h.Response, &e.Response}, {h.Trailer, &e.Trailers}} {
			if l.during == nil || *l.during {
				*l.to = append(*l.to, h.Name)
			}
		}
	}
	out.logs = append(out.logs, build.Collector{Cluster: to.Name()}.Entries(e, nil))
	out.clusters = append(out.clusters, to)
	return nil
}

// serve has a chain tell the services of its requests.
func (s *services) serve(ch *graph.Chain) {
	if s.auth != nil {
		ch.Filters[build.ExtAuthz] = s.auth
	}
	if s.limits != nil {
		ch.Filters[build.RateLimit] = s.limits
	}
	m := ch.Manager.Message.(*hcmv3.HttpConnectionManager)
	m.AccessLog, m.Tracing = slices.Concat(s.logs, m.AccessLog), s.tracing
	ch.Clusters = append(ch.Clusters, s.clusters...)
}

// authorized says what a route has an AuthService asked; nil is as of all.
func (s *services) authorized(m *mapping) *anypb.Any {
	switch {
	case s.auth == nil:
		return nil
	case is(m.spec.BypassAuth):
		return unasked()
	case len(m.spec.AuthContextExtensions) > 0:
		return build.Authorize(m.spec.AuthContextExtensions)
	}
	return nil
}

// unasked has a route not ask the AuthService.
func unasked() *anypb.Any {
	return build.Any(&extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_Disabled{Disabled: true}})
}

// with sets what a filter does for a route.
func with(r *routev3.Route, filter string, config *anypb.Any) {
	if config == nil {
		return
	}
	if r.TypedPerFilterConfig == nil {
		r.TypedPerFilterConfig = map[string]*anypb.Any{}
	}
	r.TypedPerFilterConfig[filter] = config
}
