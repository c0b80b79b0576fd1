// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// service returns the cluster of a backend that filters call. at is the path of what
// names it, in the spec of owner.
func (p *Policies) service(c *memo.Ctx, s *sheet, at string, owner source.Key, b *api.BackendCluster, mode graph.Mode) (graph.ClusterID, bool) {
	refs := b.BackendRefs
	if b.BackendRef != nil && len(refs) == 0 {
		refs = []api.BackendRef{{BackendObjectReference: *b.BackendRef}}
	}
	if len(refs) == 0 {
		s.bad(at+".backendRefs", "is empty: name who is to be asked")
		return graph.ClusterID{}, false
	}
	if len(refs) > 1 {
		s.note(at+".backendRefs", "the first is used alone")
	}
	id, problem := p.opts.Backends.Resolve(c, backend.Ref{
		From: owner.Kind, Namespace: owner.Namespace, To: refs[0].BackendObjectReference, Mode: mode,
		Anywhere: owner.Kind == source.EnvoyProxy, // Of who runs the proxies, as in Envoy Gateway.
	})
	if problem != nil {
		s.bad(at+".backendRefs[0]", "%s", problem.Message)
		return id, false
	}
	id.Variant = p.tuned(s, at, owner, b, "")
	return id, true
}

// called returns the cluster of a URI: of the backends that are named, or else of the
// host in it.
func (p *Policies) called(c *memo.Ctx, s *sheet, at string, owner source.Key, b *api.BackendCluster, u *url.URL) (graph.ClusterID, bool) {
	if b.BackendRef != nil || len(b.BackendRefs) > 0 {
		return p.service(c, s, at, owner, b, graph.HTTP)
	}
	port, _ := strconv.Atoi(cmp.Or(u.Port(), map[string]string{"https": "443", "http": "80"}[u.Scheme]))
	id := backend.Named(u.Hostname(), int32(port), graph.HTTP)
	host := ""
	if u.Scheme == "https" {
		host = u.Hostname()
	}
	id.Variant = p.tuned(s, at, owner, b, host)
	return id, true
}

// tuned is the variant of a cluster that is called: TLS to host unless that is empty,
// and as backendSettings say. Nil is neither.
func (p *Policies) tuned(s *sheet, at string, owner source.Key, b *api.BackendCluster, host string) graph.Variant {
	settings := b.BackendSettings
	if settings == nil {
		if host == "" {
			return nil
		}
		return encrypted{host}
	}
	path := at + ".backendSettings."
	settingsOverlay(s, path, settings, false, nil)
	if l := settings.LoadBalancer; l != nil && l.ConsistentHash != nil {
		s.note(path+"loadBalancer.consistentHash", "is not supported: calls have nothing of requests to be told apart by")
	}
	if t := settings.Timeout; t != nil && t.HTTP != nil {
		const why = "a call has one time-out, that of what asks for it"
		s.unsupported(path+"timeout.http.requestTimeout", t.HTTP.RequestTimeout, why)
		s.unsupported(path+"timeout.http.maxStreamDuration", t.HTTP.MaxStreamDuration, why)
		s.unsupported(path+"timeout.http.streamIdleTimeout", t.HTTP.StreamIdleTimeout, why)
	}
	return calledVariant{p, owner, at, host}
}

// calls says when a service is asked again. Its retry policy is smaller than that of
// routes.
func calls(s *sheet, at string, b *api.BackendCluster) *corev3.RetryPolicy {
	if b.BackendSettings == nil || b.BackendSettings.Retry == nil {
		return nil
	}
	path, r := at+".backendSettings.retry", b.BackendSettings.Retry
	all := retryOf(s, path, r)
	s.unsupported(path+".numAttemptsPerPriority", r.NumAttemptsPerPriority, "calls have no priorities")
	out := &corev3.RetryPolicy{RetryOn: all.GetRetryOn(), NumRetries: all.GetNumRetries()}
	if r.RetryOn == nil || len(r.RetryOn.Triggers) == 0 {
		out.RetryOn = defaultCallRetryOn
	}
	if r.RetryOn != nil && (len(r.RetryOn.HTTPStatusCodes) > 0 || slices.Contains(r.RetryOn.Triggers, retriableCodes)) {
		s.note(path+".retryOn.httpStatusCodes", "is not supported: calls are tried again by other triggers, such as 5xx")
		out.RetryOn = strings.Join(slices.DeleteFunc(strings.Split(out.RetryOn, ","), func(t string) bool { return t == retriableCodes }), ",")
	}
	if b := all.GetRetryBackOff(); b != nil {
		out.RetryBackOff = &corev3.BackoffStrategy{BaseInterval: b.GetBaseInterval(), MaxInterval: b.GetMaxInterval()}
	}
	if r.PerRetry != nil {
		s.unsupported(path+".perRetry.timeout", r.PerRetry.Timeout, "all attempts of a call share its time-out")
	}
	if out.NumRetries == nil {
		out.NumRetries = wrapperspb.UInt32(defaultRetries)
	}
	return out
}

// defaultCallRetryOn is when a call is tried again if a policy does not say.
const defaultCallRetryOn = "connect-failure,refused-stream,unavailable,cancelled,reset"

// calledVariant is how a cluster that an object names is called. at is the path of what
// names it.
type calledVariant struct {
	of    *Policies
	owner source.Key
	at    string
	host  string
}

// Name tells it from others.
func (v calledVariant) Name() string {
	return fmt.Sprintf("%s.%s.%s", v.owner.Namespace, v.owner.Name.Name, v.at)
}

// Overlay is on the cluster.
func (v calledVariant) Overlay(c *memo.Ctx, base *clusterv3.Cluster) graph.Overlay {
	var out graph.Overlay
	if v.host != "" {
		out = encrypted{v.host}.Overlay(c, base)
	}
	o, _ := source.Get[source.Object](c, v.owner.Kind, v.owner.Name)
	b := backendsOf(o)[v.at]
	if b == nil || b.BackendSettings == nil {
		return out
	}
	return attach.Merge(out, settingsOverlay(&sheet{}, "", b.BackendSettings, false, base))
}

// backendsOf are the backends that filters call for an object, by the paths of what
// names them.
func backendsOf(o source.Object) map[string]*api.BackendCluster {
	out := map[string]*api.BackendCluster{}
	keys := func(at string, list []api.JWTProvider) {
		for i := range list {
			if r := list[i].RemoteJWKS; r != nil {
				out[fmt.Sprintf("%s[%d].remoteJWKS", at, i)] = &r.BackendCluster
			}
		}
	}
	switch o := o.(type) {
	case *api.EnvoyProxy:
		collectorsOf(o, out)
	case *api.AuthenticationFilter:
		keys("jwtProviders", o.Spec.JWTProviders)
	case *api.SecurityPolicy:
		if o.Spec.JWT != nil {
			keys("jwt.providers", o.Spec.JWT.Providers)
		}
		if a := o.Spec.ExtAuth; a != nil && a.GRPC != nil {
			out["extAuth.grpc"] = &a.GRPC.BackendCluster
		}
		if a := o.Spec.ExtAuth; a != nil && a.HTTP != nil {
			out["extAuth.http"] = &a.HTTP.BackendCluster
		}
		if o.Spec.OIDC != nil {
			out["oidc.provider"] = &o.Spec.OIDC.Provider.BackendCluster
		}
	}
	return out
}

// collectorsOf adds those that an EnvoyProxy names.
func collectorsOf(o *api.EnvoyProxy, to map[string]*api.BackendCluster) {
	t := o.Spec.Telemetry
	if t == nil {
		return
	}
	if t.Tracing != nil {
		to["telemetry.tracing.provider"] = &t.Tracing.Provider.BackendCluster
	}
	if t.AccessLog == nil {
		return
	}
	for i, s := range t.AccessLog.Settings {
		for j := range s.Sinks {
			if l := s.Sinks[j].OpenTelemetry; l != nil {
				to[fmt.Sprintf("telemetry.accessLog.settings[%d].sinks[%d].openTelemetry", i, j)] = &l.BackendCluster
			}
		}
	}
}

// encrypted is a variant: TLS to a host that the system's authorities vouch for.
type encrypted struct{ host string }

// Name tells it from others.
func (encrypted) Name() string { return "tls" }

// Overlay is on the cluster.
func (e encrypted) Overlay(*memo.Ctx, *clusterv3.Cluster) graph.Overlay {
	return graph.Overlay{Message: &clusterv3.Cluster{TransportSocket: build.UpstreamTLS{ServerName: e.host}.TransportSocket()}}
}

// instance names a filter of an object's own.
func instance(filter string, owner source.Name) string {
	return build.Instance(filter, strings.ToLower(owner.String()))
}
