// SPDX-License-Identifier: Apache-2.0

// Package install reads the file of an install of Envoy Gateway, the kind EnvoyGateway.
package install

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/policy/envoygateway/sheet"
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

// LimitService is how proxies ask the limiter of their own process.
type LimitService struct {
	// Timeout is how long a request waits for its answer; 0 is 20 ms.
	Timeout time.Duration
	// FailClosed refuses requests for which there is none.
	FailClosed bool
	// Redis is where requests are counted, host:port, for who runs the limiter; empty is in
	// the process. RedisRef, if not nil, is the key of a Secret that has it instead.
	Redis    string
	RedisRef *corev1.SecretKeySelector
	// TLS has Redis spoken to in TLS. Certificate is the Secret with the certificate that it
	// is shown, and with who is trusted as ca.crt; without a namespace it is in that of the
	// install, and without a name there is none.
	TLS         bool
	Certificate source.Name
}

// configKey is where the ConfigMap of an install has the file.
const configKey = "envoy-gateway.yaml"

// Read reads the file: by itself, or in the ConfigMap that it is in in a cluster.
func Read(data []byte) (*Install, error) {
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
	return read(o)
}

func read(o *api.EnvoyGateway) (*Install, error) {
	s := &sheet.Sheet{}
	out := &Install{Controller: api.DefaultController, Proxy: o.EnvoyProxy}
	if o.Gateway != nil && o.Gateway.ControllerName != "" {
		out.Controller = o.Gateway.ControllerName
	}
	if p := o.Provider; p != nil {
		s.Unsupported("provider.kubernetes", p.Kubernetes, "see weir control --help")
		s.Unsupported("provider.custom", p.Custom, "give files and folders to weir run")
	}
	if l := o.Logging; l != nil {
		for _, component := range slices.Sorted(maps.Keys(l.Level)) {
			if component == "default" {
				s.Unsupported("logging.level.default", l.Level[component] != "info", "give --log-level")
				continue
			}
			s.Note("logging.level."+component, "is not supported: all components have the level of default")
		}
		s.Unsupported("logging.encoder", l.Encoder, "give --log-format")
		s.Unsupported("logging.encoding", l.Encoding, "give --log-format")
	}
	s.Unsupported("admin", o.Admin, "give --admin")
	s.Unsupported("telemetry", o.Telemetry, "the control plane tells of itself in its log")
	s.Unsupported("xdsServer", o.XDSServer, "connections of proxies last")
	s.Unsupported("extensionManager", o.ExtensionManager, "nobody else changes Envoy's messages")
	s.Unsupported("extensionManagers", o.ExtensionManagers, "nobody else changes Envoy's messages")
	s.Unsupported("gatewayAPI", o.GatewayAPI, "experimental kinds are read if they are there")
	s.Unsupported("runtimeFlags", o.RuntimeFlags, "there are none")
	if e := o.ExtensionAPIs; e != nil {
		s.Unsupported("extensionApis.enableEnvoyPatchPolicy", e.EnableEnvoyPatchPolicy, "Envoy's messages are as Weir makes them")
		s.Unsupported("extensionApis.enableLua", e.EnableLua, "there is no Lua")
		s.Unsupported("extensionApis.enableSDSSecretRef", e.EnableSDSSecretRef, "secrets are Kubernetes' own")
	}
	if l := o.RateLimit; l != nil {
		out.limits(s, l)
	}
	for i := range s.Notes {
		s.Notes[i].Path = strings.TrimPrefix(s.Notes[i].Path, "spec.")
	}
	out.Notes = s.Notes
	if len(s.Refused) > 0 {
		return nil, fmt.Errorf("%s: %s", strings.TrimPrefix(s.Refused[0].Path, "spec."), s.Refused[0].Message)
	}
	return out, nil
}

func (i *Install) limits(s *sheet.Sheet, l *api.LimitBackend) {
	i.Limits.FailClosed = l.FailClosed
	if d := s.Duration("rateLimit.timeout", l.Timeout); d != nil {
		i.Limits.Timeout = d.AsDuration()
	}
	s.Unsupported("rateLimit.telemetry", l.Telemetry, "there is no service of its own to tell of")
	b := l.Backend
	if b == nil {
		return
	}
	switch {
	case b.Type != "Redis":
		s.Bad("rateLimit.backend.type", "is %q: there is Redis", b.Type)
	case b.Redis == nil || ptr.Deref(b.Redis.URL, "") == "" && b.Redis.URLRef == nil:
		s.Bad("rateLimit.backend.redis.url", "is required, or urlRef")
	case b.Redis.URL != nil && b.Redis.URLRef != nil:
		s.Bad("rateLimit.backend.redis.urlRef", "url is given, too: remove one")
	default:
		i.Limits.redis(s, b.Redis)
	}
}

func (l *LimitService) redis(s *sheet.Sheet, r *api.LimitRedis) {
	l.Redis = ptr.Deref(r.URL, "")
	if r.URLRef != nil {
		if l.RedisRef = r.URLRef.SecretKeyRef; l.RedisRef == nil || l.RedisRef.Name == "" || l.RedisRef.Key == "" {
			s.Bad("rateLimit.backend.redis.urlRef.secretKeyRef", "give name and key of a Secret")
			return
		}
		if ptr.Deref(l.RedisRef.Optional, false) {
			s.Note("rateLimit.backend.redis.urlRef.secretKeyRef.optional", "is not supported: proxies that count together cannot be without Redis")
		}
	}
	if r.TLS == nil {
		return
	}
	l.TLS = true
	ref := r.TLS.CertificateRef
	switch {
	case ref == nil:
	case ptr.Deref(ref.Group, "") != "" || ptr.Deref(ref.Kind, "Secret") != "Secret":
		s.Bad("rateLimit.backend.redis.tls.certificateRef", "is of %s: a Secret has a certificate", source.A(string(ptr.Deref(ref.Kind, "Secret"))))
	default:
		l.Certificate = source.Name{Namespace: string(ptr.Deref(ref.Namespace, "")), Name: string(ref.Name)}
	}
}
