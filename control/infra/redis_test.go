// SPDX-License-Identifier: Apache-2.0

package infra_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/source"
)

const redisSecrets = `
---
apiVersion: v1
kind: Secret
metadata: {name: redis, namespace: system}
stringData: {auth: "limiter:open-sesame", ca.crt: AUTHORITY, other: left}
---
apiVersion: v1
kind: Secret
metadata: {name: shown, namespace: system}
stringData: {tls.crt: CERTIFICATE, tls.key: PRIVATE}
---
apiVersion: v1
kind: Secret
metadata: {name: half, namespace: system}
stringData: {tls.crt: CERTIFICATE}
---
apiVersion: v1
kind: Secret
metadata: {name: address, namespace: system}
stringData: {url: "rediss://:open-sesame@redis:6379", empty: ""}
`

func counted(t *testing.T, r *infra.Redis) *infra.Plan {
	t.Helper()
	changes := controltest.Objects(t, objects+redisSecrets)
	return control.NewTranslator(control.Options{Provision: true, Redis: r}).Apply(changes).Plans[0]
}

func system(name string) source.Name { return source.Name{Namespace: "system", Name: name} }

// What Redis is shown is in a Secret that the proxies mount, and nowhere else.
func TestRedis(t *testing.T) {
	marks := map[string]string{}
	for _, tt := range []struct {
		name   string
		redis  infra.Redis
		args   string // of Redis
		secret string // its keys and values
	}{
		{"an address", infra.Redis{URL: "redis:6379"}, "--ratelimit-redis redis:6379", ""},
		{"a password in it", infra.Redis{URL: "redis://:open-sesame@redis:6379/2"},
			"--ratelimit-redis redis://redis:6379/2 --ratelimit-redis-auth-file /etc/weir-redis/auth", "map[auth:open-sesame]"},
		{"a user in it", infra.Redis{URL: "redis://me:open-sesame@redis:6379"},
			"--ratelimit-redis redis://redis:6379 --ratelimit-redis-auth-file /etc/weir-redis/auth", "map[auth:me:open-sesame]"},
		{"TLS", infra.Redis{URL: "redis:6379", TLS: true}, "--ratelimit-redis redis:6379 --ratelimit-redis-tls", ""},
		{"Secrets", infra.Redis{URL: "rediss://redis:6379", Secrets: []source.Name{system("shown"), system("redis")}},
			"--ratelimit-redis rediss://redis:6379 --ratelimit-redis-tls --ratelimit-redis-auth-file /etc/weir-redis/auth --ratelimit-redis-ca /etc/weir-redis/ca.crt" +
				" --ratelimit-redis-certificate /etc/weir-redis/tls.crt --ratelimit-redis-key /etc/weir-redis/tls.key",
			"map[auth:limiter:open-sesame ca.crt:AUTHORITY tls.crt:CERTIFICATE tls.key:PRIVATE]"},
		{"an address in a Secret", infra.Redis{Address: system("address"), AddressKey: "url"},
			"--ratelimit-redis rediss://redis:6379 --ratelimit-redis-tls --ratelimit-redis-auth-file /etc/weir-redis/auth", "map[auth:open-sesame]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := map[string]string{}
			for _, o := range made(t, counted(t, &tt.redis), infra.Options{Image: "weir", Key: []byte("key")}) {
				if o.Body == nil {
					continue
				}
				if o.Kind == "Secret" {
					files := map[string]string{}
					for k, v := range o.Body["data"].(map[string][]byte) {
						files[k] = string(v)
					}
					got["Secret"] = fmt.Sprint(files)
					if o.Name != "edge-weir-redis" || o.Body["metadata"].(map[string]any)["ownerReferences"] == nil {
						t.Errorf("the Secret is %s: %v", o.Name, o.Body["metadata"])
					}
					continue
				}
				text, err := json.Marshal(o.Body)
				if err != nil {
					t.Fatal(err)
				}
				for _, private := range []string{"sesame", "PRIVATE", "AUTHORITY"} {
					if strings.Contains(string(text), private) {
						t.Errorf("the %s says %s: %s", o.Kind, private, text)
					}
				}
				if o.Kind == "Deployment" {
					got["Deployment"] = string(text)
				}
			}
			if got["Secret"] != tt.secret {
				t.Errorf("the Secret has %q, want %q", got["Secret"], tt.secret)
			}
			if args := `"` + strings.ReplaceAll(tt.args, " ", `","`) + `"]`; !strings.Contains(got["Deployment"], args) {
				t.Errorf("%s is missing in %s", args, got["Deployment"])
			}
			if mounts := strings.Count(got["Deployment"], "weir-redis\""); (mounts > 0) != (tt.secret != "") {
				t.Errorf("%d mounts in %s", mounts, got["Deployment"])
			}
			_, mark, _ := strings.Cut(got["Deployment"], `"weir.dev/bootstrap":`)
			mark, _, _ = strings.Cut(mark, ",")
			if other, ok := marks[mark]; ok && other != tt.secret {
				t.Errorf("Pods are the same with other Secrets: %s", mark)
			}
			marks[mark] = tt.secret
		})
	}
}

// What is missing is told, and no proxies are made that could not count.
func TestRedisIsMissing(t *testing.T) {
	for want, r := range map[string]infra.Redis{
		"there is no Secret system/none, which has what Redis is shown": {URL: "r:1", Secrets: []source.Name{system("none")}},
		"there is no Secret system/none, which has the address":         {Address: system("none"), AddressKey: "url"},
		`Secret system/address has no key "empty"`:                      {Address: system("address"), AddressKey: "empty"},
		"Secret system/address has none of the keys":                    {URL: "r:1", Secrets: []source.Name{system("address")}},
		"tls.crt and tls.key go together":                               {URL: "rediss://r:1", Secrets: []source.Name{system("half")}},
		"which is not spoken to in TLS":                                 {URL: "r:1", Secrets: []source.Name{system("redis")}},
	} {
		if got := counted(t, &r).Counting.Missing; !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
