// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
)

// An Install is what the file of an install of Envoy Gateway says.
type Install struct {
	// Controller is the controllerName of its GatewayClasses.
	Controller string
	Limits     LimitService
	// Proxy is what EnvoyProxies leave out; it may be nil.
	Proxy *api.EnvoyProxySpec
	// Notes are of what is not honoured.
	Notes []graph.Problem
}

// configKey is where the ConfigMap of an install has the file.
const configKey = "envoy-gateway.yaml"

// ReadInstall reads the file: by itself, or in the ConfigMap that it is in in a cluster.
func ReadInstall(data []byte) (*Install, error) {
	var head struct {
		Kind string            `yaml:"kind"`
		Data map[string]string `yaml:"data"`
	}
	if err := yaml.Unmarshal(data, &head); err != nil {
		return nil, err
	}
	if head.Kind == "ConfigMap" {
		if head.Data[configKey] == "" {
			return nil, fmt.Errorf("the ConfigMap has no key %s", configKey)
		}
		data = []byte(head.Data[configKey])
	}
	var tree map[string]any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		return nil, err
	}
	text, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	o := &api.EnvoyGateway{}
	if err := d.Decode(o); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if group, _, _ := strings.Cut(o.APIVersion, "/"); o.Kind != "EnvoyGateway" || group != api.Group && group != api.OldGroup {
		return nil, fmt.Errorf("it is %s of %s, not an EnvoyGateway of %s", source.A(cmp.Or(o.Kind, "thing")), cmp.Or(o.APIVersion, "no apiVersion"), api.Group)
	}
	return readInstall(o)
}

func readInstall(o *api.EnvoyGateway) (*Install, error) {
	s := &sheet{}
	out := &Install{Controller: api.DefaultController, Proxy: o.EnvoyProxy}
	if o.Gateway != nil && o.Gateway.ControllerName != "" {
		out.Controller = o.Gateway.ControllerName
	}
	if p := o.Provider; p != nil {
		s.unsupported("provider.kubernetes", p.Kubernetes, "see weir control --help")
		s.unsupported("provider.custom", p.Custom, "give files and folders to weir run")
	}
	if l := o.Logging; l != nil {
		for _, component := range sortedKeys(l.Level) {
			if component == "default" {
				s.unsupported("logging.level.default", l.Level[component] != "info", "give --log-level")
				continue
			}
			s.note("logging.level."+component, "is not supported: all components have the level of default")
		}
		s.unsupported("logging.encoder", l.Encoder, "give --log-format")
		s.unsupported("logging.encoding", l.Encoding, "give --log-format")
	}
	s.unsupported("admin", o.Admin, "give --admin")
	s.unsupported("telemetry", o.Telemetry, "the control plane tells of itself in its log")
	s.unsupported("xdsServer", o.XDSServer, "connections of proxies last")
	s.unsupported("extensionManager", o.ExtensionManager, "nobody else changes Envoy's messages")
	s.unsupported("extensionManagers", o.ExtensionManagers, "nobody else changes Envoy's messages")
	s.unsupported("gatewayAPI", o.GatewayAPI, "experimental kinds are read if they are there")
	s.unsupported("runtimeFlags", o.RuntimeFlags, "there are none")
	if e := o.ExtensionAPIs; e != nil {
		s.unsupported("extensionApis.enableEnvoyPatchPolicy", e.EnableEnvoyPatchPolicy, "Envoy's messages are as Weir makes them")
		s.unsupported("extensionApis.enableLua", e.EnableLua, "there is no Lua")
		s.unsupported("extensionApis.enableSDSSecretRef", e.EnableSDSSecretRef, "secrets are Kubernetes' own")
	}
	if l := o.RateLimit; l != nil {
		out.limits(s, l)
	}
	for i := range s.notes {
		s.notes[i].Path = strings.TrimPrefix(s.notes[i].Path, "spec.")
	}
	out.Notes = s.notes
	if len(s.refused) > 0 {
		return nil, fmt.Errorf("%s: %s", strings.TrimPrefix(s.refused[0].Path, "spec."), s.refused[0].Message)
	}
	return out, nil
}

func (i *Install) limits(s *sheet, l *api.LimitBackend) {
	i.Limits.FailClosed = l.FailClosed
	if d := s.duration("rateLimit.timeout", l.Timeout); d != nil {
		i.Limits.Timeout = d.AsDuration()
	}
	s.unsupported("rateLimit.telemetry", l.Telemetry, "there is no service of its own to tell of")
	b := l.Backend
	if b == nil {
		return
	}
	switch {
	case b.Type != "Redis":
		s.bad("rateLimit.backend.type", "is %q: there is Redis", b.Type)
	case b.Redis == nil || deref(b.Redis.URL, "") == "" && b.Redis.URLRef == nil:
		s.bad("rateLimit.backend.redis.url", "is required, or urlRef")
	case b.Redis.URL != nil && b.Redis.URLRef != nil:
		s.bad("rateLimit.backend.redis.urlRef", "url is given, too: remove one")
	default:
		i.Limits.redis(s, b.Redis)
	}
}

func (l *LimitService) redis(s *sheet, r *api.LimitRedis) {
	l.Redis = deref(r.URL, "")
	if r.URLRef != nil {
		if l.RedisRef = r.URLRef.SecretKeyRef; l.RedisRef == nil || l.RedisRef.Name == "" || l.RedisRef.Key == "" {
			s.bad("rateLimit.backend.redis.urlRef.secretKeyRef", "give name and key of a Secret")
			return
		}
		if is(l.RedisRef.Optional) {
			s.note("rateLimit.backend.redis.urlRef.secretKeyRef.optional", "is not supported: proxies that count together cannot be without Redis")
		}
	}
	if r.TLS == nil {
		return
	}
	l.TLS = true
	ref := r.TLS.CertificateRef
	switch {
	case ref == nil:
	case deref(ref.Group, "") != "" || deref(ref.Kind, "Secret") != "Secret":
		s.bad("rateLimit.backend.redis.tls.certificateRef", "is of %s: a Secret has a certificate", source.A(string(deref(ref.Kind, "Secret"))))
	default:
		l.Certificate = source.Name{Namespace: string(deref(ref.Namespace, "")), Name: string(ref.Name)}
	}
}
