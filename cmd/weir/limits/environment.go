// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"cmp"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A Command is what "weir ratelimit" is told.
type Command struct {
	Options
	Serve ServeOptions
	// Certificate, Key and ClientCA are those of the service.
	Certificate, Key, ClientCA string
}

// variable is a variable of the environment of Envoy's rate limit service.
type variable struct {
	name string
	set  func(c *Command, value string) error
}

// variables are those that mean something here. Others have no effect there either, or
// are about what is not here: statsd, DogStatsD, memcached, tracing.
func variables() []variable {
	text := func(to func(*Command) *string) func(*Command, string) error {
		return func(c *Command, v string) error { *to(c) = v; return nil }
	}
	boolean := func(to func(*Command) *bool) func(*Command, string) error {
		return func(c *Command, v string) (err error) { *to(c), err = strconv.ParseBool(v); return err }
	}
	number := func(to func(*Command) *int) func(*Command, string) error {
		return func(c *Command, v string) (err error) { *to(c), err = strconv.Atoi(v); return err }
	}
	only := func(value, remedy string) func(*Command, string) error {
		return func(_ *Command, v string) error {
			if !strings.EqualFold(v, value) {
				return fmt.Errorf("is not supported: %s", remedy)
			}
			return nil
		}
	}
	return []variable{
		{"BACKEND_TYPE", only("redis", "use redis")},
		{"CONFIG_TYPE", only("FILE", "use FILE, and give the files")},
		{"REDIS_TYPE", text(func(c *Command) *string { return &c.Redis.Type })},
		{"REDIS_URL", text(func(c *Command) *string { return &c.Redis.URL })},
		{"REDIS_AUTH", text(func(c *Command) *string { return &c.Redis.Auth })},
		{"REDIS_SENTINEL_AUTH", text(func(c *Command) *string { return &c.Redis.SentinelAuth })},
		{"REDIS_TLS", boolean(func(c *Command) *bool { return &c.Redis.TLS })},
		{"REDIS_TLS_CACERT", text(func(c *Command) *string { return &c.Redis.CA })},
		{"REDIS_TLS_CLIENT_CERT", text(func(c *Command) *string { return &c.Redis.Certificate })},
		{"REDIS_TLS_CLIENT_KEY", text(func(c *Command) *string { return &c.Redis.Key })},
		{"REDIS_TLS_SKIP_HOSTNAME_VERIFICATION", boolean(func(c *Command) *bool { return &c.Redis.SkipVerification })},
		{"REDIS_POOL_SIZE", number(func(c *Command) *int { return &c.Redis.Pool })},
		{"REDIS_TIMEOUT", func(c *Command, v string) (err error) { c.Redis.Timeout, err = time.ParseDuration(v); return err }},
		{"REDIS_PERSECOND", only("false", "one Redis has all limits")},
		{"NEAR_LIMIT_RATIO", func(c *Command, v string) (err error) { c.Near, err = strconv.ParseFloat(v, 64); return err }},
		{"CACHE_KEY_PREFIX", text(func(c *Command) *string { return &c.Prefix })},
		{"SHADOW_MODE", boolean(func(c *Command) *bool { return &c.Shadow })},
		{"QUOTA_MODE", boolean(func(c *Command) *bool { return &c.Quota })},
		{"RESPONSE_DYNAMIC_METADATA", boolean(func(c *Command) *bool { return &c.Serve.RLS.Metadata })},
		{"GRPC_SERVER_TLS_CERT", text(func(c *Command) *string { return &c.Certificate })},
		{"GRPC_SERVER_TLS_KEY", text(func(c *Command) *string { return &c.Key })},
		{"GRPC_CLIENT_TLS_CACERT", text(func(c *Command) *string { return &c.ClientCA })},
		{"LIMIT_LIMIT_HEADER", text(func(c *Command) *string { return &c.Serve.RLS.LimitHeader })},
		{"LIMIT_REMAINING_HEADER", text(func(c *Command) *string { return &c.Serve.RLS.RemainingHeader })},
		{"LIMIT_RESET_HEADER", text(func(c *Command) *string { return &c.Serve.RLS.ResetHeader })},
	}
}

// Environment is a Command as the variables of Envoy's rate limit service have it, so that
// its Deployment needs no change.
func Environment(get func(string) string) (*Command, error) {
	c := &Command{Options: Default(), Serve: ServeOptions{GRPC: ":8081", HTTP: ":8080"}}
	headers, err := strconv.ParseBool(cmp.Or(get("LIMIT_RESPONSE_HEADERS_ENABLED"), "false"))
	if err != nil {
		return nil, fmt.Errorf("$LIMIT_RESPONSE_HEADERS_ENABLED: %w", err)
	}
	if headers {
		h := &c.Serve.RLS
		h.LimitHeader, h.RemainingHeader, h.ResetHeader = "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"
	}
	for _, v := range variables() {
		value := get(v.name)
		if value == "" || !headers && strings.HasPrefix(v.name, "LIMIT_") {
			continue
		}
		if err := v.set(c, value); err != nil {
			return nil, fmt.Errorf("$%s %q: %w", v.name, value, err)
		}
	}
	c.Serve.GRPC = net.JoinHostPort(get("GRPC_HOST"), cmp.Or(get("GRPC_PORT"), "8081"))
	c.Serve.HTTP = net.JoinHostPort(get("HOST"), cmp.Or(get("PORT"), "8080"))
	if root := get("RUNTIME_ROOT"); root != "" {
		c.Paths = []string{filepath.Join(root, get("RUNTIME_SUBDIRECTORY"), cmp.Or(get("RUNTIME_APPDIRECTORY"), "config"))}
	}
	return c, nil
}
