// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// service is what a Mapping names as where requests go.
type service struct {
	host string
	port int32
	// scheme is http, https or empty.
	scheme string
}

// The ports of services that name none.
const (
	plainPort  = 80
	securePort = 443
)

// parseService reads [scheme://]host[:port]. secure tells that TLS is spoken whatever
// the scheme.
func parseService(text string, secure bool) (service, error) {
	s := service{}
	rest := text
	if scheme, after, ok := strings.Cut(text, "://"); ok {
		s.scheme, rest = strings.ToLower(scheme), after
		if s.scheme != "http" && s.scheme != "https" {
			return s, fmt.Errorf("%q has the scheme %s: there are http and https", text, scheme)
		}
	}
	if rest == "" {
		return s, fmt.Errorf("%q names no host: give name, name.namespace or name.namespace:port", text)
	}
	if strings.ContainsAny(rest, "/?#@ ") {
		return s, fmt.Errorf("%q is more than a host and a port: paths belong into rewrite", text)
	}
	s.port = plainPort
	if s.scheme == "https" || secure && s.scheme == "" {
		s.port = securePort
	}
	host, port, err := net.SplitHostPort(rest)
	switch {
	case err == nil:
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return s, fmt.Errorf("%q has the port %q: give a number from 1 to 65535", text, port)
		}
		s.host, s.port = host, int32(n)
	case strings.Contains(err.Error(), "missing port"):
		s.host = strings.Trim(rest, "[]")
	default:
		return s, fmt.Errorf("%q is not a host with a port: an IPv6 address is written in brackets", text)
	}
	if !build.Authority(s.host) {
		return s, fmt.Errorf("%q has the host %q, which is the name of none", text, s.host)
	}
	s.host = strings.ToLower(s.host)
	return s, nil
}

// target is a service that was found.
type target struct {
	cluster graph.ClusterID
	// named hosts are looked up by name.
	named bool
}

// find finds a service, named in a namespace. What is a Service is asked for its
// endpoints, whichever resolver; what is none is a host name, unless the resolver
// finds endpoints only.
func (d *Dialect) find(c *memo.Ctx, from source.Kind, s service, namespace string, endpoints bool, mode graph.Mode) (target, *graph.Problem) {
	if _, err := netip.ParseAddr(s.host); err == nil {
		return target{backend.Named(s.host, s.port, mode), true}, nil
	}
	labels := strings.Split(s.host, ".")
	name := source.Name{Namespace: namespace, Name: labels[0]}
	kubernetes := len(labels) <= 2 || labels[2] == "svc"
	if len(labels) > 1 {
		name.Namespace = labels[1]
	}
	if _, ok := source.Get[*corev1.Service](c, source.Service, name); ok && kubernetes {
		port := gwapiv1.PortNumber(s.port)
		cluster, problem := d.backends.Resolve(c, backend.Ref{
			From: from, Namespace: name.Namespace, Mode: mode, OwnTLS: true,
			To: gwapiv1.BackendObjectReference{Name: gwapiv1.ObjectName(name.Name), Port: &port},
		})
		return target{cluster: cluster}, problem
	}
	if endpoints && kubernetes {
		return target{}, &graph.Problem{Reason: reasonNotFound, Message: fmt.Sprintf("there is no Service %s, and the resolver finds endpoints of Services only", name)}
	}
	host := s.host
	if len(labels) == 1 && host != "localhost" {
		host += "." + namespace
	}
	return target{backend.Named(host, s.port, mode), true}, nil
}
