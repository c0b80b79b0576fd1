// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"fmt"
	"net/url"
	"reflect"
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
	"weir.dev/weir/control/policy/envoygateway/sheet"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// Callees finds the clusters of those whom filters and logs call.
type Callees struct {
	Backends *backend.Backends
	// Default is what EnvoyProxies leave out; it may be nil.
	Default *api.EnvoyProxySpec
}

// Service returns the cluster of a backend that filters call. at is the path of what
// names it, in the spec of owner.
func (d *Callees) Service(c *memo.Ctx, s *sheet.Sheet, at string, owner source.Key, b *api.BackendCluster, mode graph.Mode) (graph.ClusterID, bool) {
	refs := b.BackendRefs
	if b.BackendRef != nil && len(refs) == 0 {
		refs = []api.BackendRef{{BackendObjectReference: *b.BackendRef}}
	}
	if len(refs) == 0 {
		s.Bad(at+".backendRefs", "is empty: name who is to be asked")
		return graph.ClusterID{}, false
	}
	if len(refs) > 1 {
		s.Note(at+".backendRefs", "the first is used alone")
	}
	id, problem := d.Backends.Resolve(c, backend.Ref{
		From: owner.Kind, Namespace: owner.Namespace, To: refs[0].BackendObjectReference, Mode: mode,
		Anywhere: owner.Kind == source.EnvoyProxy, // Of who runs the proxies, as in Envoy Gateway.
	})
	if problem != nil {
		s.Bad(at+".backendRefs[0]", "%s", problem.Message)
		return id, false
	}
	return d.Tuned(s, at, owner, b, "", id), true
}

// Called returns the cluster of a URI: of the backends that are named, or else of the
// host in it.
func (d *Callees) Called(c *memo.Ctx, s *sheet.Sheet, at string, owner source.Key, b *api.BackendCluster, u *url.URL) (graph.ClusterID, bool) {
	if b.BackendRef != nil || len(b.BackendRefs) > 0 {
		return d.Service(c, s, at, owner, b, graph.HTTP)
	}
	port, _ := strconv.Atoi(cmp.Or(u.Port(), map[string]string{"https": "443", "http": "80"}[u.Scheme]))
	id := backend.Named(u.Hostname(), int32(port), graph.HTTP)
	host := ""
	if u.Scheme == "https" {
		host = u.Hostname()
	}
	return d.Tuned(s, at, owner, b, host, id), true
}

// Tuned is a cluster as it is called: by TLS to host unless that is empty, and as
// backendSettings say.
func (d *Callees) Tuned(s *sheet.Sheet, at string, owner source.Key, b *api.BackendCluster, host string, id graph.ClusterID) graph.ClusterID {
	settings := b.BackendSettings
	if settings == nil {
		if host != "" {
			id.Variant = encrypted{host}
		}
		return id
	}
	path := at + ".backendSettings."
	Overlay(s, path, settings, false, nil)
	if l := settings.LoadBalancer; l != nil && l.ConsistentHash != nil {
		s.Note(path+"loadBalancer.consistentHash", "is not supported: calls have nothing of requests to be told apart by")
	}
	if t := settings.Timeout; t != nil && t.HTTP != nil {
		const why = "a call has one time-out, that of what asks for it"
		s.Unsupported(path+"timeout.http.requestTimeout", t.HTTP.RequestTimeout, why)
		s.Unsupported(path+"timeout.http.maxStreamDuration", t.HTTP.MaxStreamDuration, why)
		s.Unsupported(path+"timeout.http.streamIdleTimeout", t.HTTP.StreamIdleTimeout, why)
	}
	id.Variant, id.Spread = calledVariant{d, owner, at, host}, Spread(settings)
	return id
}

// Calls says when a service is asked again. Its retry policy is smaller than that of
// routes.
func Calls(s *sheet.Sheet, at string, b *api.BackendCluster) *corev3.RetryPolicy {
	if b.BackendSettings == nil || b.BackendSettings.Retry == nil {
		return nil
	}
	path, r := at+".backendSettings.retry", b.BackendSettings.Retry
	all := retryOf(s, path, r)
	s.Unsupported(path+".numAttemptsPerPriority", r.NumAttemptsPerPriority, "calls have no priorities")
	out := &corev3.RetryPolicy{RetryOn: all.GetRetryOn(), NumRetries: all.GetNumRetries()}
	if r.RetryOn == nil || len(r.RetryOn.Triggers) == 0 {
		out.RetryOn = defaultCallRetryOn
	}
	if r.RetryOn != nil && (len(r.RetryOn.HTTPStatusCodes) > 0 || slices.Contains(r.RetryOn.Triggers, retriableCodes)) {
		s.Note(path+".retryOn.httpStatusCodes", "is not supported: calls are tried again by other triggers, such as 5xx")
		out.RetryOn = strings.Join(slices.DeleteFunc(strings.Split(out.RetryOn, ","), func(t string) bool { return t == retriableCodes }), ",")
	}
	if b := all.GetRetryBackOff(); b != nil {
		out.RetryBackOff = &corev3.BackoffStrategy{BaseInterval: b.GetBaseInterval(), MaxInterval: b.GetMaxInterval()}
	}
	if r.PerRetry != nil {
		s.Unsupported(path+".perRetry.timeout", r.PerRetry.Timeout, "all attempts of a call share its time-out")
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
	of    *Callees
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
	b := v.of.named(c, v.owner, v.at)
	if b == nil || b.BackendSettings == nil {
		return out
	}
	return attach.Merge(out, Overlay(&sheet.Sheet{}, "", b.BackendSettings, false, base))
}

// named is who is called at a path of an object's spec, such as "extProc[0]"; nil if that
// is nobody. Without a name the object is the default of all.
func (d *Callees) named(c *memo.Ctx, owner source.Key, at string) *api.BackendCluster {
	spec := reflect.ValueOf(d.Default)
	if o, ok := source.Get[source.Object](c, owner.Kind, owner.Name); ok {
		spec = reflect.ValueOf(o).Elem().FieldByName("Spec")
	} else if owner.Name != (source.Name{}) {
		return nil
	}
	for _, step := range strings.FieldsFunc(at, func(r rune) bool { return strings.ContainsRune(".[]", r) }) {
		if spec = inside(spec, step); !spec.IsValid() {
			return nil
		}
	}
	for spec.Kind() == reflect.Pointer {
		spec = spec.Elem()
	}
	return spec.FieldByName("BackendCluster").Addr().Interface().(*api.BackendCluster)
}

// inside is a field of a value, as it is called in JSON, or an element of a list; the zero
// Value if there is none.
func inside(v reflect.Value, step string) reflect.Value {
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Slice:
		if i, err := strconv.Atoi(step); err == nil && i < v.Len() {
			return v.Index(i)
		}
	case reflect.Struct:
		for f, value := range v.Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name == step {
				return value
			}
			if f.Anonymous {
				if found := inside(value, step); found.IsValid() {
					return found
				}
			}
		}
	}
	return reflect.Value{}
}

// encrypted is a variant: TLS to a host that the system's authorities vouch for.
type encrypted struct{ host string }

// Name tells it from others.
func (encrypted) Name() string { return "tls" }

// Overlay is on the cluster.
func (e encrypted) Overlay(*memo.Ctx, *clusterv3.Cluster) graph.Overlay {
	return graph.Overlay{Message: &clusterv3.Cluster{TransportSocket: build.UpstreamTLS{ServerName: e.host}.TransportSocket()}}
}
