// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/build"
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

// readInstalls returns the installs that have a Listener, by name.
func (d *Dialect) readInstalls(c *memo.Ctx, _ struct{}) []string {
	found := map[string]bool{}
	any := false
	for _, l := range d.list(c, source.EmissaryListener) {
		o, ok := get[*emissaryv3.Listener](d, c, l)
		if !ok {
			continue
		}
		any = true
		for _, name := range idsOf(o.Spec.AmbassadorID) {
			if name != automatic {
				found[name] = true
			}
		}
	}
	if any && len(found) == 0 {
		found[anonymous] = true
	}
	out := slices.Sorted(maps.Keys(found))
	return slices.DeleteFunc(out, func(name string) bool { return len(d.ids) > 0 && !slices.Contains(d.ids, name) })
}

// install is what an install's Modules and resolvers say.
type install struct {
	name   string
	config moduleConfig
	// endpoints are the names of resolvers that find endpoints, services of those that
	// look up names, and others of those that cannot be used.
	endpoints, services, others []string
	// of has the Module called ambassador, zero if there is none; problems by Module.
	problems map[id][]graph.Problem
	// defaultLabels are what requests count under in each domain, before the labels of their
	// Mappings.
	defaultLabels map[string][]label
	// tls is the Module of that name, which is tlsID; nil if there is none.
	tls   *tlsConfig
	tlsID id
	// overrides are the bodies of responses.
	overrides []build.ErrorResponse
	// closed tells that whom to let in cannot be read, so that nobody is.
	closed bool
}

// moduleConfig is the configuration of the Module called ambassador. What is not here
// is in unsupportedConfig.
type moduleConfig struct {
	AddLinkerdHeaders  *bool `json:"add_linkerd_headers,omitempty"`
	AllowChunkedLength *bool `json:"allow_chunked_length,omitempty"`
	Buffer             *struct {
		MaxRequestBytes uint32 `json:"max_request_bytes"`
	} `json:"buffer,omitempty"`
	BufferLimitBytes        *uint32          `json:"buffer_limit_bytes,omitempty"`
	CircuitBreakers         breakers         `json:"circuit_breakers,omitempty"`
	ClusterIdleTimeout      *int64           `json:"cluster_idle_timeout_ms,omitempty"`
	ClusterMaxConnectionAge *int64           `json:"cluster_max_connection_lifetime_ms,omitempty"`
	ClusterRequestTimeout   *int64           `json:"cluster_request_timeout_ms,omitempty"`
	CORS                    *emissaryv3.CORS `json:"cors,omitempty"`
	DefaultLabelDomain      string           `json:"default_label_domain,omitempty"`
	DefaultLabels           map[string]struct {
		Defaults []any `json:"defaults,omitempty"`
	} `json:"default_labels,omitempty"`
	Defaults struct {
		HTTPMapping          mappingDefaults                   `json:"httpmapping,omitempty"`
		TLSSecretNamespacing *bool                             `json:"tls_secret_namespacing,omitempty"`
		AddRequestHeaders    *map[string]emissaryv3.AddedValue `json:"add_request_headers,omitempty"`
		AddResponseHeaders   *map[string]emissaryv3.AddedValue `json:"add_response_headers,omitempty"`
	} `json:"defaults,omitempty"`
	Diagnostics *struct {
		Enabled       *bool  `json:"enabled,omitempty"`
		Prefix        string `json:"prefix,omitempty"`
		AllowNonLocal *bool  `json:"allow_non_local,omitempty"`
	} `json:"diagnostics,omitempty"`
	EnableGRPCBridge          *bool                              `json:"enable_grpc_http11_bridge,omitempty"`
	EnableGRPCWeb             *bool                              `json:"enable_grpc_web,omitempty"`
	EnableHTTP10              *bool                              `json:"enable_http10,omitempty"`
	EnableIPv4                *bool                              `json:"enable_ipv4,omitempty"`
	EnableIPv6                *bool                              `json:"enable_ipv6,omitempty"`
	ErrorResponseOverrides    []emissaryv3.ErrorResponseOverride `json:"error_response_overrides,omitempty"`
	LogFormat                 any                                `json:"envoy_log_format,omitempty"`
	LogPath                   string                             `json:"envoy_log_path,omitempty"`
	LogType                   string                             `json:"envoy_log_type,omitempty"`
	Gzip                      *gzip                              `json:"gzip,omitempty"`
	ForwardClientCert         string                             `json:"forward_client_cert_details,omitempty"`
	GRPCStats                 *grpcStats                         `json:"grpc_stats,omitempty"`
	HeadersWithUnderscores    string                             `json:"headers_with_underscores_action,omitempty"`
	IPAllow                   []peer                             `json:"ip_allow,omitempty"`
	IPDeny                    []peer                             `json:"ip_deny,omitempty"`
	KeepAlive                 *emissaryv3.KeepAlive              `json:"keepalive,omitempty"`
	ListenerIdleTimeout       *int64                             `json:"listener_idle_timeout_ms,omitempty"`
	LoadBalancer              *emissaryv3.LoadBalancer           `json:"load_balancer,omitempty"`
	MaxRequestHeadersKB       *uint32                            `json:"max_request_headers_kb,omitempty"`
	MergeSlashes              *bool                              `json:"merge_slashes,omitempty"`
	RejectEscapedSlashes      *bool                              `json:"reject_requests_with_escaped_slashes,omitempty"`
	PreserveExternalRequestID *bool                              `json:"preserve_external_request_id,omitempty"`
	ProperCase                *bool                              `json:"proper_case,omitempty"`
	Resolver                  string                             `json:"resolver,omitempty"`
	RetryPolicy               *emissaryv3.RetryPolicy            `json:"retry_policy,omitempty"`
	ServerName                *string                            `json:"server_name,omitempty"`
	SetCurrentClientCert      map[string]bool                    `json:"set_current_client_cert_details,omitempty"`
	StripMatchingHostPort     *bool                              `json:"strip_matching_host_port,omitempty"`
	SuppressEnvoyHeaders      *bool                              `json:"suppress_envoy_headers,omitempty"`
	UseAmbassadorNamespace    *bool                              `json:"use_ambassador_namespace_for_service_resolution,omitempty"`
	UseProxyProto             *bool                              `json:"use_proxy_proto,omitempty"`
	UseRemoteAddress          *bool                              `json:"use_remote_address,omitempty"`
	XForwardedProtoRedirect   *bool                              `json:"x_forwarded_proto_redirect,omitempty"`
	XFFNumTrustedHops         *uint32                            `json:"xff_num_trusted_hops,omitempty"`
}

// mappingDefaults are what Mappings have that do not say.
type mappingDefaults struct {
	AddRequestHeaders     *map[string]emissaryv3.AddedValue `json:"add_request_headers,omitempty"`
	AddResponseHeaders    *map[string]emissaryv3.AddedValue `json:"add_response_headers,omitempty"`
	RemoveRequestHeaders  *emissaryv3.Strings               `json:"remove_request_headers,omitempty"`
	RemoveResponseHeaders *emissaryv3.Strings               `json:"remove_response_headers,omitempty"`
	AddLinkerdHeaders     *bool                             `json:"add_linkerd_headers,omitempty"`
}

// breakers is a list of circuit breakers, or one.
type breakers []emissaryv3.CircuitBreaker

// UnmarshalJSON reads either form.
func (b *breakers) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		data = slices.Concat([]byte("["), data, []byte("]"))
	}
	return json.Unmarshal(data, (*[]emissaryv3.CircuitBreaker)(b))
}

// grpcStats says which calls of gRPC are counted.
type grpcStats struct {
	AllMethods    bool `json:"all_methods,omitempty"`
	UpstreamStats bool `json:"upstream_stats,omitempty"`
	Services      []struct {
		Name        string   `json:"name"`
		MethodNames []string `json:"method_names"`
	} `json:"services,omitempty"`
}

// A peer is a range of addresses: of the peer of the connection, or of who the trusted
// proxies in front say it is.
type peer struct {
	Peer   string `json:"peer,omitempty"`
	Remote string `json:"remote,omitempty"`
}

// unsupportedConfig are keys of the Module that have no effect, and why.
func unsupportedConfig() map[string]string {
	none := "has no effect here"
	return map[string]string{
		"admin_port":               none + ": weir's --admin says where its admin listens",
		"auth_enabled":             none + ": authentication is an AuthService",
		"debug_mode":               none + ": use weir's --log-level",
		"envoy_validation_timeout": none + ": configuration is validated in this process",
		"header_case_overrides":    "is not supported: use proper_case",
		"liveness_probe":           none + ": weir's admin answers probes at /ready",
		"readiness_probe":          none + ": weir's admin answers probes at /ready",
		"lua_scripts":              "is not supported: there is no Lua here",
		"prune_unreachable_routes": none + ": routes that cannot be reached are never made",
		"regex_max_size":           none + ": expressions of RE2 take time in proportion to the text",
		"regex_type":               none + ": all expressions are of RE2",
		"runtime_flags":            "is not supported",
		"service_port":             none + ": Listeners say which ports there are",
		"statsd":                   none + ": statistics are at weir's admin, /stats/prometheus",
	}
}

// The Modules that there are.
const (
	moduleAmbassador = "ambassador"
	moduleTLS        = "tls"
)

// readInstall reads the Modules and resolvers of an install.
func (d *Dialect) readInstall(c *memo.Ctx, name string) *install {
	out := &install{name: name, endpoints: []string{"endpoint"}, services: []string{"kubernetes-service"}, problems: map[id][]graph.Problem{}}
	first := map[string]id{}
	for _, m := range d.list(c, source.EmissaryModule) {
		o, ok := get[*emissaryv3.Module](d, c, m)
		if !ok || !isFor(idsOf(o.Spec.AmbassadorID), name) {
			continue
		}
		if other, twice := first[m.Name.Name]; twice {
			out.bad(m, "metadata.name", reasonConflict, "Module %s of the same install has this name: it is taken, and this one is not; give them an ambassador_id each", other.Name)
			continue
		}
		first[m.Name.Name] = m
		switch m.Name.Name {
		case moduleAmbassador:
			out.readConfig(m, o.Spec.Config)
		case moduleTLS:
			out.readTLS(m, o.Spec.Config)
		default:
			out.bad(m, "metadata.name", reasonUnsupported, "a Module of this name is not known: there are %s and %s", moduleAmbassador, moduleTLS)
		}
	}
	for kind, names := range map[source.Kind]*[]string{
		source.EmissaryEndpointResolver: &out.endpoints, source.EmissaryServiceResolver: &out.services, source.EmissaryConsulResolver: &out.others,
	} {
		for _, r := range d.list(c, kind) {
			if isFor(d.idsOfAny(c, r), name) {
				*names = append(*names, r.Name.Name)
			}
		}
	}
	for _, list := range out.problems {
		slices.SortStableFunc(list, func(a, b graph.Problem) int { return strings.Compare(a.Path, b.Path) })
	}
	return out
}

// refuses reports whether requests of a Mapping must not be let in, because who is to
// decide on them cannot be asked.
func (i *install) refuses(s *services, m *mapping) bool {
	return s.closed && !is(m.spec.BypassAuth) || s.denies && len(m.limits)+len(i.defaultLabels) > 0
}

// idsOfAny returns the installs that an object of any kind is for.
func (d *Dialect) idsOfAny(c *memo.Ctx, i id) []string {
	o, ok := get[source.Object](d, c, i)
	if !ok {
		return nil
	}
	switch o := o.(type) {
	case *emissaryv3.Listener:
		return idsOf(o.Spec.AmbassadorID)
	case *emissaryv3.Host:
		return idsOf(o.Spec.AmbassadorID, o.Spec.AmbassadorIDCamel)
	case *emissaryv3.Mapping:
		return idsOf(o.Spec.AmbassadorID)
	case *emissaryv3.TCPMapping:
		return idsOf(o.Spec.AmbassadorID)
	case *emissaryv3.TLSContext:
		return idsOf(o.Spec.AmbassadorID)
	case *emissaryv3.Module:
		return idsOf(o.Spec.AmbassadorID)
	case *emissaryv3.Resolver:
		return idsOf(o.Spec.AmbassadorID)
	case *emissaryv3.Foreign:
		return foreignIDs(o)
	}
	return nil
}

func foreignIDs(o *emissaryv3.Foreign) []string {
	data, err := json.Marshal(o.Spec["ambassador_id"])
	if err != nil {
		return idsOf()
	}
	var ids emissaryv3.Strings
	if json.Unmarshal(data, &ids) != nil {
		return idsOf()
	}
	return idsOf(ids)
}

func (i *install) bad(of id, path, reason, format string, args ...any) {
	i.problems[of] = append(i.problems[of], graph.Problemf(path, reason, format, args...))
}

// readConfig reads the configuration of the Module called ambassador, key by key: one
// that is wrong does not take the others down.
func (i *install) readConfig(m id, config map[string]any) {
	unsupported := unsupportedConfig()
	for _, key := range slices.Sorted(maps.Keys(config)) {
		path := "spec.config." + key
		if why, ok := unsupported[key]; ok {
			i.bad(m, path, reasonUnsupported, "%s", why)
			continue
		}
		data, err := json.Marshal(map[string]any{key: config[key]})
		if err != nil {
			i.bad(m, path, reasonInvalid, "%v", err)
			continue
		}
		next := i.config
		strict := json.NewDecoder(bytes.NewReader(data))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&next); err != nil {
			left := "it is left out"
			if key == "ip_allow" || key == "ip_deny" {
				left, i.closed = "no connection is taken until it is right", true
			}
			i.bad(m, path, reasonInvalid, "%s: %s", left, misfit(err))
			continue
		}
		i.config = next
	}
	i.check(m)
}

// check drops what cannot be meant.
func (i *install) check(m id) {
	c := &i.config
	if len(c.IPAllow) > 0 && len(c.IPDeny) > 0 {
		i.bad(m, "spec.config.ip_deny", reasonConflict, "ip_allow is there, too, and only one of them can be: ip_allow counts")
		c.IPDeny = nil
	}
	if c.XForwardedProtoRedirect != nil && *c.XForwardedProtoRedirect {
		i.bad(m, "spec.config.x_forwarded_proto_redirect", reasonUnsupported, "has no effect, as in Emissary 3: a Host's requestPolicy says what becomes of insecure requests")
	}
	if d := c.Diagnostics; d != nil && (d.Enabled == nil || *d.Enabled) {
		i.bad(m, "spec.config.diagnostics", reasonUnsupported, "there is no diagnostics service here: weir's admin and weir check tell what is wrong; set enabled to false")
	}
	if c.StripMatchingHostPort != nil && !*c.StripMatchingHostPort {
		i.bad(m, "spec.config.strip_matching_host_port", reasonUnsupported, "host names are always compared without ports")
	}
	if c.UseProxyProto != nil && *c.UseProxyProto {
		i.bad(m, "spec.config.use_proxy_proto", reasonUnsupported, "has no effect, as in Emissary: give a Listener a protocol with PROXY, such as HTTPPROXY")
	}
	if c.XFFNumTrustedHops != nil {
		i.bad(m, "spec.config.xff_num_trusted_hops", reasonUnsupported, "has no effect, as in Emissary: give each Listener its l7Depth")
	}
	i.checkTraffic(m)
	for name, list := range map[string]*[]peer{"ip_allow": &c.IPAllow, "ip_deny": &c.IPDeny} {
		for n, p := range *list {
			i.checkPeer(m, fmt.Sprintf("spec.config.%s[%d]", name, n), p)
		}
	}
	for field, v := range map[string]string{"forward_client_cert_details": c.ForwardClientCert, "headers_with_underscores_action": c.HeadersWithUnderscores} {
		known := hcmv3.HttpConnectionManager_ForwardClientCertDetails_value
		if field == "headers_with_underscores_action" {
			known = corev3.HttpProtocolOptions_HeadersWithUnderscoresAction_value
		}
		if _, ok := known[v]; v != "" && !ok {
			i.bad(m, "spec.config."+field, reasonInvalid, "it is left out: %q is not one of %s", v, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
}

// checkTraffic drops what the Module says of Mappings and cannot be meant.
func (i *install) checkTraffic(m id) {
	c := &i.config
	drop := func(clear func()) teller {
		return func(path, reason, format string, args ...any) {
			i.bad(m, "spec.config."+path, reason, "it is left out: "+format, args...)
			clear()
		}
	}
	checkRetry("retry_policy", c.RetryPolicy, drop(func() { c.RetryPolicy = nil }))
	checkBreakers("circuit_breakers", c.CircuitBreakers, drop(func() { c.CircuitBreakers = nil }))
	checkBalancer("load_balancer", c.LoadBalancer, drop(func() { c.LoadBalancer = nil }))
	checkCORS("cors", c.CORS, drop(func() { c.CORS = nil }))
	tell := func(path, reason, format string, args ...any) {
		i.bad(m, "spec.config."+path, reason, format, args...)
	}
	i.overrides = readOverrides(c.ErrorResponseOverrides, tell)
	readLog(c, tell)
	if c.Gzip != nil {
		c.Gzip.check(tell)
	}
	i.defaultLabels = map[string][]label{}
	for domain, l := range c.DefaultLabels {
		i.defaultLabels[domain] = labelsOf(fmt.Sprintf("default_labels[%q].defaults", domain), l.Defaults, drop(func() { delete(c.DefaultLabels, domain) }))
		if _, ok := c.DefaultLabels[domain]; !ok {
			delete(i.defaultLabels, domain)
		}
	}
	for field, set := range map[string]**map[string]emissaryv3.AddedValue{
		"defaults.add_request_headers": &c.Defaults.AddRequestHeaders, "defaults.add_response_headers": &c.Defaults.AddResponseHeaders,
		"defaults.httpmapping.add_request_headers":  &c.Defaults.HTTPMapping.AddRequestHeaders,
		"defaults.httpmapping.add_response_headers": &c.Defaults.HTTPMapping.AddResponseHeaders,
	} {
		if *set != nil {
			checkAdded(field, **set, drop(func() { *set = nil }))
		}
	}
	for field, n := range map[string]**int64{
		"cluster_idle_timeout_ms": &c.ClusterIdleTimeout, "cluster_max_connection_lifetime_ms": &c.ClusterMaxConnectionAge,
		"cluster_request_timeout_ms": &c.ClusterRequestTimeout, "listener_idle_timeout_ms": &c.ListenerIdleTimeout,
	} {
		if *n != nil && (**n < 0 || **n > longest) {
			i.bad(m, "spec.config."+field, reasonInvalid, "it is left out: %d is not a time from 0 to %d, in milliseconds", **n, longest)
			*n = nil
		}
	}
	if c.Buffer != nil && c.Buffer.MaxRequestBytes == 0 {
		i.bad(m, "spec.config.buffer.max_request_bytes", reasonInvalid, "it is left out: a request of 0 bytes is none")
		c.Buffer = nil
	}
	if n := c.MaxRequestHeadersKB; n != nil && (*n == 0 || *n > maxHeadersKB) {
		i.bad(m, "spec.config.max_request_headers_kb", reasonInvalid, "it is left out: %d is not from 1 to %d", *n, maxHeadersKB)
		c.MaxRequestHeadersKB = nil
	}
}

// maxHeadersKB is the most that Envoy takes.
const maxHeadersKB = 8192

// checkPeer finds ranges that are none. Nobody is let in then: what was to be closed
// must not be open.
func (i *install) checkPeer(m id, path string, p peer) {
	text := cmp.Or(p.Peer, p.Remote)
	switch _, err := parseRange(text); {
	case p.Peer != "" && p.Remote != "", text == "":
		i.bad(m, path, reasonInvalid, "has not exactly one of peer and remote: no connection is taken until it has")
	case err != nil:
		i.bad(m, path, reasonInvalid, "%q is not an address or a range such as 10.0.0.0/8: no connection is taken until it is", text)
	default:
		return
	}
	i.closed = true
}

// resolves says how a resolver finds hosts.
func (i *install) resolves(name string) (endpoints bool, problem string) {
	if name == "" {
		name = i.config.Resolver
	}
	switch {
	case name == "" || slices.Contains(i.services, name):
		return false, ""
	case slices.Contains(i.endpoints, name):
		return true, ""
	case slices.Contains(i.others, name):
		return false, fmt.Sprintf("resolver %s is a ConsulResolver, which is not supported: use a KubernetesEndpointResolver", name)
	}
	return false, fmt.Sprintf("there is no resolver %s of this install: make a KubernetesEndpointResolver of that name; there are %s",
		name, strings.Join(slices.Sorted(slices.Values(slices.Concat(i.endpoints, i.services))), ", "))
}
