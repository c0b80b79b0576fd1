// SPDX-License-Identifier: Apache-2.0

package install

import (
	"strings"
	"testing"
	"time"
)

func TestRead(t *testing.T) {
	const seed = `
apiVersion: v1
kind: ConfigMap
metadata: {name: envoy-gateway-config, namespace: envoy-gateway-system}
data:
  envoy-gateway.yaml: |
    apiVersion: gateway.envoyproxy.io/v1alpha1
    kind: EnvoyGateway
    provider:
      type: Kubernetes
    gateway:
      controllerName: gateway.envoyproxy.io/gatewayclass-controller
    rateLimit:
      backend:
        type: Redis
        redis:
          url: redis.redis-system.svc.cluster.local:6379
`
	i, err := Read([]byte(seed))
	if err != nil || i.Controller != "gateway.envoyproxy.io/gatewayclass-controller" || i.Limits.Redis != "redis.redis-system.svc.cluster.local:6379" || len(i.Notes) > 0 {
		t.Errorf("%+v, %v", i, err)
	}
	i, err = Read([]byte("apiVersion: config.gateway.envoyproxy.io/v1alpha1\nkind: EnvoyGateway\n" +
		"rateLimit: {backend: {type: Redis, redis: {url: r:1}}, timeout: 5ms, failClosed: true}\nlogging: {level: {default: warn, xds-server: debug}}\nadmin: {debug: true}\n"))
	if err != nil || i.Limits.Timeout != 5*time.Millisecond || !i.Limits.FailClosed || len(i.Notes) != 3 {
		t.Errorf("%+v, %v", i, err)
	}
	i, err = Read([]byte("apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyGateway\n" +
		"rateLimit: {backend: {type: Redis, redis: {urlRef: {secretKeyRef: {name: redis, key: url}}, tls: {certificateRef: {name: shown}}}}}\n"))
	if err != nil || i.Limits.Redis != "" || i.Limits.RedisRef.Name != "redis" || i.Limits.RedisRef.Key != "url" || !i.Limits.TLS || i.Limits.Certificate.Name != "shown" || len(i.Notes) > 0 {
		t.Errorf("%+v, %v", i, err)
	}
	redis := func(text string) string {
		return "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyGateway\nrateLimit: {backend: {type: Redis, redis: " + text + "}}"
	}
	for text, want := range map[string]string{
		redis("{}"): "rateLimit.backend.redis.url: is required, or urlRef",
		redis("{url: r:1, urlRef: {secretKeyRef: {name: a, key: b}}}"):             "rateLimit.backend.redis.urlRef: url is given, too",
		redis("{urlRef: {secretKeyRef: {name: a}}}"):                               "rateLimit.backend.redis.urlRef.secretKeyRef: give name and key",
		redis("{url: r:1, tls: {certificateRef: {kind: ConfigMap, name: shown}}}"): "rateLimit.backend.redis.tls.certificateRef: is of a ConfigMap",
		"kind: EnvoyGateway":              "no apiVersion",
		"apiVersion: v1\nkind: ConfigMap": "has no key envoy-gateway.yaml",
		"a: [":                            "line",
		"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyGateway\ngate: {}":                                           `unknown field "gate"`,
		"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyGateway\nrateLimit: {backend: {type: Paper}}":                "rateLimit.backend.type",
		"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyGateway\nrateLimit: {backend: {type: Redis}, timeout: soon}": "rateLimit.timeout",
	} {
		if _, err := Read([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// FuzzRead feeds files of any content.
func FuzzRead(f *testing.F) {
	f.Add([]byte("apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyGateway\n"))
	f.Add([]byte("kind: ConfigMap\ndata: {envoy-gateway.yaml: 'a: b'}"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = Read(data) })
}
