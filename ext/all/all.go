// SPDX-License-Identifier: Apache-2.0

// Package all lists every extension that the binary has. To add one, write its
// folder and its line here; nothing registers itself.
package all

import (
	"weir.dev/weir/ext/accesslog/file"
	"weir.dev/weir/ext/accesslog/stderr"
	"weir.dev/weir/ext/accesslog/stdout"
	"weir.dev/weir/ext/accesslogfilter/cel"
	"weir.dev/weir/ext/cluster/logicaldns"
	"weir.dev/weir/ext/cluster/static"
	"weir.dev/weir/ext/cluster/strictdns"
	"weir.dev/weir/ext/http/buffer"
	"weir.dev/weir/ext/http/cors"
	"weir.dev/weir/ext/http/fault"
	"weir.dev/weir/ext/http/headermutation"
	"weir.dev/weir/ext/http/healthcheck"
	"weir.dev/weir/ext/http/router"
	"weir.dev/weir/ext/lb/leastrequest"
	"weir.dev/weir/ext/lb/random"
	"weir.dev/weir/ext/lb/roundrobin"
	"weir.dev/weir/ext/network/hcm"
	"weir.dev/weir/ext/transport/rawbuffer"
	"weir.dev/weir/ext/transport/tls"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/dns"
)

// Extensions returns all extensions.
func Extensions() *extension.Registry {
	names := dns.NewSource("", "")
	return &extension.Registry{
		HTTP: []extension.HTTPFilter{
			buffer.Extension(),
			cors.Extension(),
			fault.Extension(),
			headermutation.Extension(),
			healthcheck.Extension(),
			router.Extension(),
		},
		Network: []extension.NetworkFilter{
			hcm.Extension(),
		},
		Transport: []extension.Transport{
			rawbuffer.Extension(),
			tls.Extension(),
		},
		UpstreamTransport: []extension.UpstreamTransport{
			tls.Upstream(),
		},
		AccessLog: []extension.AccessLog{
			{Name: file.Name, Message: file.Message, New: file.New},
			{Name: stdout.Name, Message: stdout.Message, New: stdout.New},
			{Name: stderr.Name, Message: stderr.Message, New: stderr.New},
		},
		AccessLogFilter: []extension.AccessLogFilter{
			{Name: cel.Name, Message: cel.Message, New: cel.New},
		},
		Policies: []upstream.PolicyFactory{
			roundrobin.Factory(),
			leastrequest.Factory(),
			random.Factory(),
		},
		Discoveries: []upstream.DiscoveryFactory{
			static.Factory(),
			strictdns.Factory(names),
			logicaldns.Factory(names),
		},
	}
}
