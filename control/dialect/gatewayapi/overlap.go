// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/memo"
)

// readOverlaps returns, of a fleet's listeners that terminate TLS for HTTP, those that have
// host names in common with another of their port, and which that is (GEP-3567).
func (d *Dialect) readOverlaps(c *memo.Ctx, fleet source.Name) map[listenerID]*listener {
	ports := map[int32][]*listener{}
	for _, name := range d.sharers.Get(c, fleet) {
		for _, l := range d.listeners.Get(c, name).list {
			if l.protocol == gwapiv1.HTTPSProtocolType && l.serves() {
				ports[l.port] = append(ports[l.port], l)
			}
		}
	}
	out := map[listenerID]*listener{}
	for _, list := range ports {
		if len(list) > 1 {
			overlap(list, out)
		}
	}
	return out
}

// overlap finds the listeners of a port that overlap. A name overlaps with the wildcards
// that cover it, which take more labels than one, and with nothing else, since no other
// listener of the port has it.
func overlap(list []*listener, out map[listenerID]*listener) {
	wildcards := map[string]*listener{} // by what follows *
	for _, l := range list {
		switch {
		case l.host == attach.AnyHost:
			wildcards[""] = l
		case strings.HasPrefix(l.host, "*."):
			wildcards[l.host[1:]] = l
		}
	}
	for _, l := range list {
		if l.host == attach.AnyHost {
			continue
		}
		// What is above foo.example.com is .example.com, .com and all.
		for rest := strings.TrimPrefix(l.host, "*."); ; {
			at := strings.IndexByte(rest, '.')
			above := ""
			if at >= 0 {
				above = rest[at:]
			}
			if other := wildcards[above]; other != nil {
				out[l.id], out[other.id] = other, l
			}
			if at < 0 {
				break
			}
			rest = rest[at+1:]
		}
	}
}

// overlapping tells that a listener overlaps with another, if it does.
func (d *Dialect) overlapping(c *memo.Ctx, g *gateway, l *listener, generation int64) []metav1.Condition {
	if l.protocol != gwapiv1.HTTPSProtocolType {
		return nil
	}
	other := d.overlaps.Get(c, g.fleet)[l.id]
	if other == nil {
		return nil
	}
	return []metav1.Condition{status.Condition(gwapiv1.ListenerConditionOverlappingTLSConfig, true, gwapiv1.ListenerReasonOverlappingHostnames,
		fmt.Sprintf("host names are those of listener %s of %s (%s), too: a client that uses one connection for both is answered 421", other.id.name, other.id.parent, other.host), generation)}
}
