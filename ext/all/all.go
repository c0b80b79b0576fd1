// SPDX-License-Identifier: Apache-2.0

// Package all lists every extension that the binary has. To add one, write its
// folder and its line here; nothing registers itself.
package all

import (
	"weir.dev/weir/ext/accesslog/file"
	grpclog "weir.dev/weir/ext/accesslog/grpc"
	"weir.dev/weir/ext/accesslog/opentelemetry"
	"weir.dev/weir/ext/accesslog/stderr"
	"weir.dev/weir/ext/accesslog/stdout"
	"weir.dev/weir/ext/accesslogfilter/cel"
	"weir.dev/weir/ext/cluster/aggregate"
	dfpcluster "weir.dev/weir/ext/cluster/dynamicforwardproxy"
	"weir.dev/weir/ext/cluster/eds"
	"weir.dev/weir/ext/cluster/logicaldns"
	"weir.dev/weir/ext/cluster/originaldst"
	"weir.dev/weir/ext/cluster/registration"
	"weir.dev/weir/ext/cluster/static"
	"weir.dev/weir/ext/cluster/strictdns"
	healthgrpc "weir.dev/weir/ext/health/grpc"
	healthhttp "weir.dev/weir/ext/health/http"
	healthtcp "weir.dev/weir/ext/health/tcp"
	"weir.dev/weir/ext/http/adaptiveconcurrency"
	"weir.dev/weir/ext/http/admissioncontrol"
	"weir.dev/weir/ext/http/apikeyauth"
	"weir.dev/weir/ext/http/awslambda"
	"weir.dev/weir/ext/http/awsrequestsigning"
	"weir.dev/weir/ext/http/bandwidthlimit"
	"weir.dev/weir/ext/http/basicauth"
	"weir.dev/weir/ext/http/buffer"
	"weir.dev/weir/ext/http/compressor"
	"weir.dev/weir/ext/http/cors"
	"weir.dev/weir/ext/http/credentialinjector"
	"weir.dev/weir/ext/http/csrf"
	"weir.dev/weir/ext/http/customresponse"
	"weir.dev/weir/ext/http/dynamicforwardproxy"
	"weir.dev/weir/ext/http/extauthz"
	"weir.dev/weir/ext/http/extproc"
	"weir.dev/weir/ext/http/fault"
	"weir.dev/weir/ext/http/fn"
	"weir.dev/weir/ext/http/grpchttp1bridge"
	"weir.dev/weir/ext/http/grpchttp1reversebridge"
	"weir.dev/weir/ext/http/grpcjsontranscoder"
	"weir.dev/weir/ext/http/grpcstats"
	"weir.dev/weir/ext/http/grpcweb"
	"weir.dev/weir/ext/http/headermutation"
	"weir.dev/weir/ext/http/healthcheck"
	"weir.dev/weir/ext/http/jwtauthn"
	httplocalratelimit "weir.dev/weir/ext/http/localratelimit"
	"weir.dev/weir/ext/http/misdirected"
	"weir.dev/weir/ext/http/oauth2"
	"weir.dev/weir/ext/http/ondemand"
	httpratelimit "weir.dev/weir/ext/http/ratelimit"
	httprbac "weir.dev/weir/ext/http/rbac"
	"weir.dev/weir/ext/http/responsemap"
	"weir.dev/weir/ext/http/router"
	"weir.dev/weir/ext/http/statefulsession"
	"weir.dev/weir/ext/http/upstreamcodec"
	"weir.dev/weir/ext/lb/clientsideweightedroundrobin"
	"weir.dev/weir/ext/lb/leastrequest"
	"weir.dev/weir/ext/lb/maglev"
	"weir.dev/weir/ext/lb/overridehost"
	"weir.dev/weir/ext/lb/random"
	"weir.dev/weir/ext/lb/ringhash"
	"weir.dev/weir/ext/lb/roundrobin"
	"weir.dev/weir/ext/lb/subset"
	"weir.dev/weir/ext/lb/wrrlocality"
	"weir.dev/weir/ext/listener/httpinspector"
	listenerlocalratelimit "weir.dev/weir/ext/listener/localratelimit"
	listeneroriginaldst "weir.dev/weir/ext/listener/originaldst"
	listenerproxyprotocol "weir.dev/weir/ext/listener/proxyprotocol"
	"weir.dev/weir/ext/listener/tlsinspector"
	"weir.dev/weir/ext/monitor/cgroupmemory"
	"weir.dev/weir/ext/monitor/cpuutilization"
	"weir.dev/weir/ext/monitor/downstreamconnections"
	"weir.dev/weir/ext/monitor/filedescriptors"
	"weir.dev/weir/ext/monitor/fixedheap"
	"weir.dev/weir/ext/monitor/injectedresource"
	"weir.dev/weir/ext/network/connectionlimit"
	"weir.dev/weir/ext/network/directresponse"
	"weir.dev/weir/ext/network/echo"
	"weir.dev/weir/ext/network/hcm"
	"weir.dev/weir/ext/network/localratelimit"
	"weir.dev/weir/ext/network/rbac"
	"weir.dev/weir/ext/network/snicluster"
	"weir.dev/weir/ext/network/snidynamicforwardproxy"
	"weir.dev/weir/ext/network/tcpproxy"
	"weir.dev/weir/ext/redirect/allowlistedroutes"
	"weir.dev/weir/ext/redirect/filterstate"
	"weir.dev/weir/ext/redirect/previousroutes"
	"weir.dev/weir/ext/redirect/safecrossscheme"
	"weir.dev/weir/ext/retry/omitcanaryhosts"
	"weir.dev/weir/ext/retry/omithostmetadata"
	"weir.dev/weir/ext/retry/previoushosts"
	"weir.dev/weir/ext/retry/previouspriorities"
	"weir.dev/weir/ext/statsink/dogstatsd"
	"weir.dev/weir/ext/statsink/graphitestatsd"
	statsopentelemetry "weir.dev/weir/ext/statsink/opentelemetry"
	"weir.dev/weir/ext/statsink/statsd"
	otracer "weir.dev/weir/ext/tracer/opentelemetry"
	"weir.dev/weir/ext/tracer/zipkin"
	"weir.dev/weir/ext/transport/proxyprotocol"
	"weir.dev/weir/ext/transport/rawbuffer"
	"weir.dev/weir/ext/transport/tls"
	"weir.dev/weir/ext/udp/udpproxy"
	"weir.dev/weir/proxy/aws/credentials"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/overload"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/proxy/upstream/dns"
	"weir.dev/weir/proxy/upstream/dnscache"
	"weir.dev/weir/proxy/upstream/health"
)

// Extensions returns all extensions.
func Extensions() *extension.Registry {
	names := dns.NewSource("", "")
	caches := dnscache.NewSet(names)
	aws := credentials.NewSet(credentials.Environment{})
	return &extension.Registry{
		HTTP: httpFilters(aws, caches),
		Network: []extension.NetworkFilter{
			connectionlimit.Extension(),
			directresponse.Extension(),
			echo.Extension(),
			hcm.Extension(),
			localratelimit.Extension(),
			rbac.Extension(),
			snicluster.Extension(),
			snidynamicforwardproxy.Extension(caches),
			tcpproxy.Extension(),
		},
		UDP: []extension.UDPFilter{
			udpproxy.Extension(),
		},
		Listener: []extension.ListenerFilter{
			httpinspector.Extension(),
			listenerlocalratelimit.Extension(),
			listeneroriginaldst.Extension(),
			listenerproxyprotocol.Extension(),
			tlsinspector.Extension(),
		},
		Transport: []extension.Transport{
			rawbuffer.Extension(),
			tls.Extension(),
		},
		UpstreamTransport: []extension.UpstreamTransport{
			proxyprotocol.Extension(),
			tls.Upstream(),
		},
		AccessLog: []extension.AccessLog{
			{Name: file.Name, Message: file.Message, New: file.New},
			{Name: grpclog.HTTPName, Message: grpclog.HTTPMessage, NewRemote: grpclog.NewHTTP},
			{Name: grpclog.TCPName, Message: grpclog.TCPMessage, NewRemote: grpclog.NewTCP},
			{Name: opentelemetry.Name, Message: opentelemetry.Message, NewRemote: opentelemetry.New},
			{Name: stdout.Name, Message: stdout.Message, New: stdout.New},
			{Name: stderr.Name, Message: stderr.Message, New: stderr.New},
		},
		Tracers: []extension.Tracer{
			otracer.Extension(),
			zipkin.Extension(),
		},
		StatsSinks: []extension.StatsSink{
			statsd.Extension(),
			dogstatsd.Extension(),
			graphitestatsd.Extension(),
			statsopentelemetry.Extension(),
		},
		AccessLogFilter: []extension.AccessLogFilter{
			{Name: cel.Name, Message: cel.Message, New: cel.New},
		},
		Policies: []upstream.PolicyFactory{
			roundrobin.Factory(),
			leastrequest.Factory(),
			random.Factory(),
			ringhash.Factory(),
			maglev.Factory(),
			subset.Factory(),
			wrrlocality.Factory(),
			overridehost.Factory(),
			clientsideweightedroundrobin.Factory(),
		},
		Monitors: extension.Plugins[overload.Maker]{
			cgroupmemory.Extension(),
			cpuutilization.Extension(),
			downstreamconnections.Extension(),
			filedescriptors.Extension(),
			fixedheap.Extension(),
			injectedresource.Extension(),
		},
		HealthCheckers: []health.Factory{
			healthhttp.Factory(),
			healthgrpc.Factory(),
			healthtcp.Factory(),
		},
		Discoveries: []upstream.DiscoveryFactory{
			static.Factory(),
			eds.Factory(),
			strictdns.Factory(names),
			logicaldns.Factory(names),
			dfpcluster.Factory(caches),
			originaldst.Factory(),
			registration.Factory(),
			aggregate.Factory(),
		},
		RetryHosts: extension.Plugins[upstream.HostPredicate]{
			omitcanaryhosts.Extension(),
			omithostmetadata.Extension(),
			previoushosts.Extension(),
		},
		RetryPriorities: extension.Plugins[upstream.PriorityOverride]{
			previouspriorities.Extension(),
		},
		RedirectPredicates: extension.Plugins[route.RedirectPredicate]{
			allowlistedroutes.Extension(),
			filterstate.Extension(),
			previousroutes.Extension(),
			safecrossscheme.Extension(),
		},
	}
}

// httpFilters are the HTTP filters. What some of them share is given.
func httpFilters(aws *credentials.Set, caches *dnscache.Set) []extension.HTTPFilter {
	return []extension.HTTPFilter{
		adaptiveconcurrency.Extension(),
		admissioncontrol.Extension(),
		apikeyauth.Extension(),
		awslambda.Extension(aws),
		awsrequestsigning.Extension(aws),
		bandwidthlimit.Extension(),
		basicauth.Extension(),
		buffer.Extension(),
		compressor.Extension(),
		cors.Extension(),
		credentialinjector.Extension(),
		csrf.Extension(),
		customresponse.Extension(),
		dynamicforwardproxy.Extension(caches),
		extauthz.Extension(),
		extproc.Extension(),
		fault.Extension(),
		fn.Extension(),
		grpchttp1bridge.Extension(),
		grpchttp1reversebridge.Extension(),
		grpcjsontranscoder.Extension(),
		grpcstats.Extension(),
		grpcweb.Extension(),
		headermutation.Extension(),
		healthcheck.Extension(),
		httplocalratelimit.Extension(),
		httpratelimit.Extension(),
		misdirected.Extension(),
		jwtauthn.Extension(),
		oauth2.Extension(),
		ondemand.Extension(),
		httprbac.Extension(),
		responsemap.Extension(),
		router.Extension(),
		statefulsession.Extension(),
		upstreamcodec.Extension(),
	}
}
