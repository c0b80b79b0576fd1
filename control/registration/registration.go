// SPDX-License-Identifier: Apache-2.0

// Package registration answers version 1 of Envoy's service discovery for the Services of
// a cluster: GET /v1/registration/:service, as kubernetes-envoy-sds did, from
// EndpointSlices. It opens no socket: a Server is an http.Handler.
//
// A service is called NAME.NAMESPACE, with or without .svc and .svc.cluster.local behind
// it, and may be followed by a colon and the name or number of one of its ports; without,
// it is the first. One that is not there, or has no endpoints, has no hosts.
package registration

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"weir.dev/weir/control/source"
)

// Path is what the path of a question begins with.
const Path = "/v1/registration/"

// Server answers from the newest view that it was given. The zero Server has none, and
// says so: who asks keeps what it has.
type Server struct {
	mu     sync.Mutex
	view   *source.View
	slices map[source.Name][]*discoveryv1.EndpointSlice // of view; nil until asked for
}

// Set makes a view what is answered from. It is quick, and may be called at any time.
func (s *Server) Set(v *source.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view != v {
		s.view, s.slices = v, nil
	}
}

// now returns the view and the EndpointSlices in it by Service.
func (s *Server) now() (*source.View, map[source.Name][]*discoveryv1.EndpointSlice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view == nil || s.slices != nil {
		return s.view, s.slices
	}
	s.slices = map[source.Name][]*discoveryv1.EndpointSlice{}
	for _, name := range s.view.Names(source.EndpointSlice) {
		slice, ok := s.view.Get(source.Key{Kind: source.EndpointSlice, Name: name}).(*discoveryv1.EndpointSlice)
		if !ok {
			continue
		}
		of := source.Name{Namespace: name.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
		s.slices[of] = append(s.slices[of], slice)
	}
	return s.view, s.slices
}

type host struct {
	Address string `json:"ip_address"`
	Port    int32  `json:"port"`
	Tags    tags   `json:"tags"`
}

type tags struct {
	Zone string `json:"az,omitempty"`
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	service, ok := strings.CutPrefix(r.URL.Path, Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "ask by GET", http.StatusMethodNotAllowed)
		return
	}
	name, port, ok := parse(service)
	if !ok {
		http.Error(w, fmt.Sprintf("%.100q is not the name of a service: write name.namespace.svc.cluster.local", service), http.StatusBadRequest)
		return
	}
	view, all := s.now()
	if view == nil {
		http.Error(w, "the cluster has not been read yet", http.StatusServiceUnavailable)
		return
	}
	of, _ := view.Get(source.Key{Kind: source.Service, Name: name}).(*corev1.Service)
	body, err := json.Marshal(map[string][]host{"hosts": hosts(of, all[name], port)})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // Who asked is gone otherwise.
}

// parse reads the name of a service, and of its port if there is one.
func parse(text string) (name source.Name, port string, ok bool) {
	text, port, withPort := strings.Cut(text, ":")
	parts := strings.Split(text, ".")
	if len(parts) < 2 || parts[0] == "" || parts[1] == "" || withPort && port == "" {
		return source.Name{}, "", false
	}
	switch strings.Join(parts[2:], ".") {
	case "", "svc", "svc.cluster.local":
		return source.Name{Namespace: parts[1], Name: parts[0]}, port, true
	}
	return source.Name{}, "", false
}

// hosts are the ready endpoints of a port, in order, each once. Of a Service with
// addresses of two families they are of its first.
func hosts(of *corev1.Service, from []*discoveryv1.EndpointSlice, port string) []host {
	family := discoveryv1.AddressTypeIPv4
	if of != nil && len(of.Spec.IPFamilies) > 0 {
		family = discoveryv1.AddressType(of.Spec.IPFamilies[0])
	} else if !slices.ContainsFunc(from, func(s *discoveryv1.EndpointSlice) bool { return s.AddressType == family }) {
		family = discoveryv1.AddressTypeIPv6
	}
	out := []host{}
	for _, s := range from {
		number, ok := portOf(of, s, port)
		if s.AddressType != family || !ok {
			continue
		}
		for _, e := range s.Endpoints {
			if len(e.Addresses) == 0 || e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			if _, err := netip.ParseAddr(e.Addresses[0]); err != nil {
				continue
			}
			h := host{Address: e.Addresses[0], Port: number}
			if e.Zone != nil {
				h.Tags.Zone = *e.Zone
			}
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b host) int {
		return cmp.Or(netip.MustParseAddr(a.Address).Compare(netip.MustParseAddr(b.Address)), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Tags.Zone, b.Tags.Zone))
	})
	return slices.CompactFunc(out, func(a, b host) bool { return a.Address == b.Address && a.Port == b.Port })
}

// portOf returns the number under which a slice has a port of a Service: the one that is
// asked for by name or number, or the first.
func portOf(of *corev1.Service, s *discoveryv1.EndpointSlice, asked string) (int32, bool) {
	name, known := asked, asked != ""
	if of != nil {
		for _, p := range of.Spec.Ports {
			if asked == "" || asked == p.Name || asked == strconv.Itoa(int(p.Port)) {
				name, known = p.Name, true
				break
			}
		}
	}
	for _, p := range s.Ports {
		if p.Port == nil || known && (p.Name == nil && name != "" || p.Name != nil && *p.Name != name) {
			continue
		}
		return *p.Port, true
	}
	return 0, false
}
