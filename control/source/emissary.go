// SPDX-License-Identifier: Apache-2.0

package source

import emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"

// The kinds of Emissary-ingress that are read.
var (
	EmissaryListener         = Kind{emissaryv3.Group, "Listener"}
	EmissaryHost             = Kind{emissaryv3.Group, "Host"}
	EmissaryMapping          = Kind{emissaryv3.Group, "Mapping"}
	EmissaryTCPMapping       = Kind{emissaryv3.Group, "TCPMapping"}
	EmissaryTLSContext       = Kind{emissaryv3.Group, "TLSContext"}
	EmissaryModule           = Kind{emissaryv3.Group, "Module"}
	EmissaryServiceResolver  = Kind{emissaryv3.Group, "KubernetesServiceResolver"}
	EmissaryEndpointResolver = Kind{emissaryv3.Group, "KubernetesEndpointResolver"}
	EmissaryConsulResolver   = Kind{emissaryv3.Group, "ConsulResolver"}
	EmissaryAuthService      = Kind{emissaryv3.Group, "AuthService"}
	EmissaryRateLimitService = Kind{emissaryv3.Group, "RateLimitService"}
	EmissaryLogService       = Kind{emissaryv3.Group, "LogService"}
	EmissaryTracingService   = Kind{emissaryv3.Group, "TracingService"}
	EmissaryDevPortal        = Kind{emissaryv3.Group, "DevPortal"}
)

func emissaryTypes() []Type {
	t := func(k Kind, resource string, create func() Object, versions ...string) Type {
		if len(versions) == 0 {
			versions = []string{"v3alpha1", "v2"}
		}
		return Type{Kind: k, Versions: versions, Resource: resource, Namespaced: true, Optional: true, New: create}
	}
	resolver := func() Object { return &emissaryv3.Resolver{} }
	foreign := func() Object { return &emissaryv3.Foreign{} }
	return []Type{
		t(EmissaryListener, "listeners", func() Object { return &emissaryv3.Listener{} }, "v3alpha1"),
		t(EmissaryHost, "hosts", func() Object { return &emissaryv3.Host{} }),
		t(EmissaryMapping, "mappings", func() Object { return &emissaryv3.Mapping{} }),
		t(EmissaryTCPMapping, "tcpmappings", func() Object { return &emissaryv3.TCPMapping{} }),
		t(EmissaryTLSContext, "tlscontexts", func() Object { return &emissaryv3.TLSContext{} }),
		t(EmissaryModule, "modules", func() Object { return &emissaryv3.Module{} }),
		t(EmissaryServiceResolver, "kubernetesserviceresolvers", resolver),
		t(EmissaryEndpointResolver, "kubernetesendpointresolvers", resolver),
		t(EmissaryConsulResolver, "consulresolvers", foreign),
		t(EmissaryAuthService, "authservices", foreign),
		t(EmissaryRateLimitService, "ratelimitservices", foreign),
		t(EmissaryLogService, "logservices", foreign),
		t(EmissaryTracingService, "tracingservices", foreign),
		t(EmissaryDevPortal, "devportals", foreign),
	}
}
