// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net/http"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
)

// serveListeners is /listeners, as text or ?format=json.
func (a *Admin) serveListeners(w *answer, r *http.Request) {
	list := a.server.Listeners()
	if r.URL.Query().Get("format") != "json" {
		for _, l := range list {
			for _, addr := range l.Addresses {
				w.text("%s::%s\n", l.Name, addr)
			}
		}
		return
	}
	out := &adminv3.Listeners{}
	for _, l := range list {
		s := &adminv3.ListenerStatus{Name: l.Name}
		for i, addr := range l.Addresses {
			if i == 0 {
				s.LocalAddress = address(addr)
			} else {
				s.AdditionalLocalAddresses = append(s.AdditionalLocalAddresses, address(addr))
			}
		}
		out.ListenerStatuses = append(out.ListenerStatuses, s)
	}
	w.message(out, false)
}
