// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// gatewaysOf returns the Gateways of ours whose routes lead to any of some backends.
func (d *Dialect) gatewaysOf(c *memo.Ctx, backends []source.Key) []source.Name {
	var out []source.Name
	for _, key := range backends {
		for _, r := range d.byBackend.Members(c, key) {
			for _, at := range d.attachment.Get(c, r).parents {
				if len(at.refused) == 0 && !slices.Contains(out, at.gateway) {
					out = append(out, at.gateway)
				}
			}
		}
	}
	slices.SortFunc(out, source.Compare)
	return out
}

// maxBackendAncestors is how many parents the status of an XBackend may have.
const maxBackendAncestors = 32

// statusOfBackend returns the status of a Backend. That of Envoy Gateway's kind has one if a
// route of ours leads to it, or if nobody else tells: it may be for Envoy Gateway itself.
func (d *Dialect) statusOfBackend(c *memo.Ctx, key source.Key) *status.Update {
	u := &status.Update{Key: key}
	o, ok := source.Get[source.Object](c, key.Kind, key.Name)
	if !ok {
		return u
	}
	u.Problems, _ = d.backends.Judge(c, key)
	accepted := []metav1.Condition{status.Judge("Accepted", u.Problems, v1alpha1.BackendAccepted, "routes can refer to it", o.GetGeneration())}
	gateways := d.gatewaysOf(c, []source.Key{key})
	switch {
	case key.Kind == source.XBackend:
		s := &gwxv1alpha1.BackendStatus{}
		for _, g := range gateways[:min(len(gateways), maxBackendAncestors)] {
			s.Ancestors = append(s.Ancestors, gwxv1alpha1.BackendAncestorStatus{
				ControllerName: gwapiv1.GatewayController(d.controller), AncestorRef: gatewayRef(g), Conditions: accepted,
			})
		}
		u.Status = s
	case key.Kind == source.Backend || len(gateways) > 0 || !d.envoys.Get(c, struct{}{}):
		u.Status = &v1alpha1.BackendStatus{Conditions: accepted}
	}
	return u
}

// envoyControllers is how the controllerNames of Envoy Gateway begin.
const envoyControllers = "gateway.envoyproxy.io/"

// readEnvoys reports whether Envoy Gateway is there, too, and tells of its objects.
func (d *Dialect) readEnvoys(c *memo.Ctx, _ struct{}) bool {
	return slices.ContainsFunc(source.Names(c, source.GatewayClass), func(n source.Name) bool {
		o, ok := source.Get[*gwapiv1.GatewayClass](c, source.GatewayClass, n)
		return ok && o.Spec.ControllerName != d.controller && strings.HasPrefix(string(o.Spec.ControllerName), envoyControllers)
	})
}
