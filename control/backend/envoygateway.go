// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"strings"

	"weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// isBackend reports whether a kind is one whose objects have endpoints of their own.
func isBackend(k source.Kind) bool { return k == source.Backend || k == source.EnvoyBackend }

// own returns a Backend; one of Envoy Gateway's as if it were ours. refused says what it
// asks for that cannot be done.
func own(c *memo.Ctx, key source.Key) (o *v1alpha1.Backend, refused string) {
	if key.Kind == source.Backend {
		o, _ = source.Get[*v1alpha1.Backend](c, source.Backend, key.Name)
		return o, ""
	}
	e, ok := source.Get[*envoygateway.Backend](c, source.EnvoyBackend, key.Name)
	if !ok {
		return nil, ""
	}
	s := &e.Spec
	switch {
	case s.Type != nil && *s.Type != "Endpoints":
		refused = "is of type " + *s.Type + ", which is not supported: list its endpoints"
	case s.TLS != nil:
		refused = "has spec.tls, which is not supported: say whom to trust in a BackendTLSPolicy for it"
	case s.Fallback != nil && *s.Fallback:
		refused = "has spec.fallback, which is not supported: leave it out"
	}
	o = &v1alpha1.Backend{ObjectMeta: e.ObjectMeta}
	for _, x := range s.Endpoints {
		at := v1alpha1.BackendEndpoint{Zone: x.Zone}
		if x.FQDN != nil {
			at.FQDN = &v1alpha1.FQDNEndpoint{Hostname: x.FQDN.Hostname, Port: x.FQDN.Port}
		}
		if x.IP != nil {
			at.IP = &v1alpha1.IPEndpoint{Address: x.IP.Address, Port: x.IP.Port}
		}
		if x.Unix != nil {
			at.Unix = &v1alpha1.UnixEndpoint{Path: x.Unix.Path}
		}
		o.Spec.Endpoints = append(o.Spec.Endpoints, at)
	}
	for _, p := range s.AppProtocols {
		if name, ok := strings.CutPrefix(p, "gateway.envoyproxy.io/"); ok && (name == "h2c" || o.Spec.AppProtocol == nil) {
			app := "kubernetes.io/" + name
			o.Spec.AppProtocol = &app
		}
	}
	return o, refused
}
