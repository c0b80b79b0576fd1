// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"weir.dev/weir/cmd/weir/ads"
	"weir.dev/weir/cmd/weir/flags"
	"weir.dev/weir/cmd/weir/life"
	"weir.dev/weir/cmd/weir/limits"
)

func newRateLimit() *cobra.Command {
	var set *flags.Set
	// What is wrong with the environment is told when the command runs, not in its help.
	c, problem := limits.Environment(os.Getenv)
	if c == nil {
		c = &limits.Command{Options: limits.Default()}
	}
	cmd := &cobra.Command{
		Use:   "ratelimit [PATH...]",
		Short: "Answer Envoys whether requests are within rate limits",
		Long: `Answer envoy.service.ratelimit.v3.RateLimitService by gRPC, for Envoy, Weir and whoever else asks. Limits are files of
Envoy's rate limit service: a domain and its descriptors. Files and folders are watched; what is wrong with one is
logged, and what was read before goes on.

Counters are in memory or, with --redis, in Redis, which several of it and proxies of Weir's may share.

--http answers /healthcheck, /healthz, /readyz, /stats, /metrics (Prometheus), /rlconfig, and POST /json: a request in
JSON, which gets 429 over a limit.

The environment variables of Envoy's rate limit service are the defaults of flags: REDIS_URL, REDIS_TYPE, REDIS_AUTH,
REDIS_TLS and its kin, RUNTIME_ROOT and RUNTIME_SUBDIRECTORY for PATH, GRPC_PORT, PORT, NEAR_LIMIT_RATIO,
CACHE_KEY_PREFIX, SHADOW_MODE, QUOTA_MODE, LIMIT_RESPONSE_HEADERS_ENABLED, RESPONSE_DYNAMIC_METADATA.`,
		Example: `  weir ratelimit limits.yaml
  weir ratelimit /etc/limits --redis redis.redis-system:6379 --redis-auth-file /etc/redis/password`,
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
		RunE: func(cmd *cobra.Command, args []string) error {
			if problem != nil {
				return problem
			}
			o, err := set.Proxy()
			if err != nil {
				return err
			}
			if len(args) > 0 {
				c.Paths = args
			}
			return runRateLimit(cmd, o, c)
		},
	}
	set = flags.AddLog(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&c.Serve.GRPC, "listen", c.Serve.GRPC, "`address` that proxies connect to")
	f.StringVar(&c.Serve.HTTP, "http", c.Serve.HTTP, "`address` of health and statistics; empty for none")
	f.StringVar(&c.Certificate, "tls-certificate", c.Certificate, "`file` of the certificate that proxies are shown, in PEM; read anew when it changes, as those below")
	f.StringVar(&c.Key, "tls-key", c.Key, "`file` of its key")
	f.StringVar(&c.ClientCA, "client-ca", c.ClientCA, "`file` of the authorities of proxies' certificates; without it anybody may ask")
	c.Options.Add(f, "")
	f.Float64Var(&c.Near, "near", c.Near, "`part` of a limit from which requests count as near it")
	f.BoolVar(&c.Shadow, "shadow", c.Shadow, "count, and let all requests pass")
	f.BoolVar(&c.Quota, "quota", c.Quota, "refuse a request only if all its descriptors are over their limits")
	f.BoolVar(&c.Serve.RLS.Metadata, "response-metadata", c.Serve.RLS.Metadata, "tell what was asked, and limits' metadata, as dynamic metadata")
	for _, name := range []string{"listen", "http", "near"} {
		complete(cmd, name, cobra.NoFileCompletions)
	}
	for _, name := range []string{"tls-certificate", "tls-key", "client-ca"} {
		complete(cmd, name, cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	}
	completeLimits(cmd, "")
	completeFlags(cmd)
	return cmd
}

// requireClients lets nobody in who shows no certificate, if there are authorities of some.
func requireClients(c *tls.Config) {
	get := c.GetConfigForClient
	c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		now, err := get(h)
		if err == nil && now.ClientCAs != nil {
			now = now.Clone()
			now.ClientAuth = tls.RequireAndVerifyClientCert
		}
		return now, err
	}
}

// limitServer answers until it is told to end.
type limitServer struct{ *limits.Server }

func (s limitServer) Run(ctx context.Context) error { return s.Serve(ctx) }

func runRateLimit(cmd *cobra.Command, o *flags.Proxy, c *limits.Command) error {
	if len(c.Paths) == 0 {
		return errors.New("requires a file or a folder with limits")
	}
	logs, reopen, closeLog, err := openLogs(cmd, o)
	if err != nil {
		return err
	}
	defer func() { _ = closeLog() }() // Nothing is left to log the error to.
	log := logs.Logger("ratelimit")
	switch f := (ads.Files{Certificate: c.Certificate, Key: c.Key, ClientCA: c.ClientCA}); {
	case f.Certificate != "" && f.Key != "":
		if c.Serve.TLS, err = f.TLS(func(err error) { log.Warn(err.Error()) }); err != nil {
			return err
		}
		requireClients(c.Serve.TLS)
	case f != ads.Files{}:
		return errors.New("--tls-certificate and --tls-key go together")
	}
	signals, stop := listenForSignals()
	defer stop()
	l, err := limits.Open(c.Options, log)
	if err != nil {
		return err
	}
	defer l.Close()
	s, err := limits.Listen(l, c.Serve)
	if err != nil {
		return err
	}
	log.Info("listening for proxies", "address", s.Addr(), "http", s.HTTPAddr(), "domains", l.Limiter().Rules().Domains())
	return life.Run(cmd.Context(), log, signals, reopen, life.Part{Name: "ratelimit", Server: limitServer{s}})
}
