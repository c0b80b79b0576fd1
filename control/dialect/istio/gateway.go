// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"fmt"
	"slices"
	"strings"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// The reasons of problems.
const (
	reasonInvalid     = "Invalid"
	reasonUnsupported = "Unsupported"
	reasonNotFound    = "NotFound"
	reasonConflict    = "Conflict"
)

// gateway is a Gateway.
type gateway struct {
	name     source.Name
	selector map[string]string
	servers  []*server
}

// server is a server of a Gateway.
type server struct {
	id serverID
	// port of the gateway.
	port int32
	// http servers have routes of HTTP, others of connections.
	http bool
	// secure servers speak TLS, which passes through or is terminated.
	secure, passthrough bool
	// redirect answers requests with the same of https.
	redirect bool
	hosts    []hostIn
	tls      *graph.TLS
	// problems leave the server out, notes do not.
	problems, notes []graph.Problem
}

// hostIn is a host name of a server, for VirtualServices of a namespace, or of all if it
// is empty.
type hostIn struct{ namespace, name string }

func (s *server) path(field string) string {
	return fmt.Sprintf("spec.servers[%d].%s", s.id.index, field)
}

func (s *server) bad(field, reason, format string, args ...any) {
	s.problems = append(s.problems, graph.Problemf(s.path(field), reason, format, args...))
}

func (s *server) note(field, reason, format string, args ...any) {
	s.notes = append(s.notes, graph.Problemf(s.path(field), reason, format, args...))
}

// readGateway reads a Gateway; nil if there is none.
func (d *Dialect) readGateway(c *memo.Ctx, name source.Name) *gateway {
	o, ok := source.Get[*istiov1.Gateway](c, source.IstioGateway, name)
	if !ok {
		return nil
	}
	out := &gateway{name: name, selector: o.Spec.Selector}
	for i := range o.Spec.Servers {
		out.servers = append(out.servers, readServer(c, serverID{name, i}, &o.Spec.Servers[i]))
	}
	return out
}

// readServer reads a server of a Gateway.
func readServer(c *memo.Ctx, id serverID, in *istiov1.Server) *server {
	s := &server{id: id}
	if in.Port == nil || in.Port.Number < 1 || in.Port.Number > 65535 {
		s.bad("port.number", reasonInvalid, "is missing or no port: give one from 1 to 65535")
		return s
	}
	s.port = int32(in.Port.Number)
	protocol := strings.ToUpper(in.Port.Protocol)
	switch protocol {
	case "HTTP", "HTTP2", "GRPC", "GRPC-WEB":
		s.http = true
	case "HTTPS":
		s.http, s.secure = true, true
	case "TLS":
		s.secure = true
	case "TCP", "MONGO", "MYSQL", "REDIS":
	default:
		s.bad("port.protocol", reasonInvalid, "%q is not a protocol: there are HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS and MONGO", in.Port.Protocol)
	}
	if protocol == "MONGO" || protocol == "MYSQL" || protocol == "REDIS" {
		s.note("port.protocol", reasonUnsupported, "%s is carried as TCP: nothing looks into it", protocol)
	}
	for i, h := range in.Hosts {
		s.addHost(i, h)
	}
	if len(in.Hosts) == 0 {
		s.bad("hosts", reasonInvalid, "is missing: give \"*\" for all")
	}
	for field, is := range map[string]bool{"bind": in.Bind != "", "defaultEndpoint": in.DefaultEndpoint != "", "port.targetPort": in.Port.TargetPort != 0} {
		if is {
			s.note(field, reasonUnsupported, "has no effect: a gateway is served on its ports, at the addresses of its proxies")
		}
	}
	s.readTLS(c, in.TLS)
	byPath(s.problems)
	byPath(s.notes)
	return s
}

// addHost reads "host" or "namespace/host"; a namespace may be "*" or ".".
func (s *server) addHost(i int, text string) {
	h := hostIn{name: strings.ToLower(text)}
	if ns, name, ok := strings.Cut(text, "/"); ok {
		h = hostIn{ns, strings.ToLower(name)}
	}
	switch h.namespace {
	case ".":
		h.namespace = s.id.gateway.Namespace
	case "*":
		h.namespace = ""
	}
	if !validHost(h.name) {
		s.bad(fmt.Sprintf("hosts[%d]", i), reasonInvalid, "%q is not a host name: a star may be its first label", text)
		return
	}
	s.hosts = append(s.hosts, h)
}

// validHost reports whether a text is a host name, "*." and one, or "*".
func validHost(text string) bool {
	rest := strings.TrimPrefix(text, "*.")
	if text == attach.AnyHost {
		return true
	}
	if len(text) > 253 || rest == "" {
		return false
	}
	for _, label := range strings.Split(rest, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i, r := range []byte(label) {
			letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_'
			if !letter && (r != '-' || i == 0 || i == len(label)-1) {
				return false
			}
		}
	}
	return true
}

// admits reports whether VirtualServices of a namespace may have a host.
func (h hostIn) admits(namespace string) bool { return h.namespace == "" || h.namespace == namespace }

func byPath(list []graph.Problem) {
	slices.SortStableFunc(list, func(a, b graph.Problem) int { return strings.Compare(a.Path, b.Path) })
}
