// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/limiter/redis"
	"weir.dev/weir/control/source"
)

// counting is where proxies count global rate limits, as flags have it; what they leave out
// an install's file may say.
type counting struct {
	redis, secret string
	tls           bool
}

func (k *counting) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&k.redis, "ratelimit-redis", "", "`address` of the Redis, host:port or redis://..., in which proxies count global rate limits; without it there are none")
	f.BoolVar(&k.tls, "ratelimit-redis-tls", false, "have provisioned proxies connect to it over TLS, as they do to rediss://...")
	f.StringVar(&k.secret, "ratelimit-redis-secret", "", "`name` of a Secret of --namespace, or NAMESPACE/NAME, for provisioned proxies: Redis' auth (a password, or user:password), ca.crt, tls.crt, tls.key")
	complete(cmd, "ratelimit-redis", cobra.NoFileCompletions)
	complete(cmd, "ratelimit-redis-secret", cobra.NoFileCompletions)
}

// count sets where proxies count. Without a Redis there are no limits: each proxy would
// count for itself.
func (p *plane) count() error {
	l, k := p.control.Limits, p.counting
	if k.redis != "" {
		l.Redis, l.RedisRef = k.redis, nil
	}
	switch {
	case (k.tls || k.secret != "") && !p.provision:
		return errors.New("--ratelimit-redis-tls and --ratelimit-redis-secret are for the proxies that --provision runs: others have flags of their own for it")
	case l.Redis == "" && l.RedisRef == nil && (k.tls || k.secret != ""):
		return errors.New("--ratelimit-redis-tls and --ratelimit-redis-secret say how Redis is spoken to: give --ratelimit-redis, too")
	case l.Redis == "" && l.RedisRef == nil:
		p.control.Limits = nil
		return nil
	}
	r := &infra.Redis{URL: l.Redis, TLS: l.TLS || k.tls}
	if l.Redis != "" {
		if _, err := redis.Parse("", l.Redis); err != nil {
			return fmt.Errorf("--ratelimit-redis: %w", err)
		}
	}
	if ref := l.RedisRef; ref != nil {
		r.Address, r.AddressKey = source.Name{Namespace: p.namespace, Name: ref.Name}, ref.Key
	}
	if l.Certificate.Name != "" {
		r.Secrets = append(r.Secrets, p.secret(l.Certificate))
	}
	if k.secret != "" {
		r.Secrets = append(r.Secrets, p.secret(infra.FleetOf(k.secret)))
	}
	if p.provision {
		p.control.Redis = r
	}
	return nil
}

// secret is the name of a Secret, which is the control plane's own if it has no namespace.
func (p *plane) secret(n source.Name) source.Name {
	if n.Namespace == "" {
		n.Namespace = p.namespace
	}
	return n
}
