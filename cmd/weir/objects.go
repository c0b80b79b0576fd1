// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"

	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"k8s.io/klog/v2"

	"weir.dev/weir/cmd/weir/demo"
	"weir.dev/weir/cmd/weir/flags"
	"weir.dev/weir/cmd/weir/gateway"
	"weir.dev/weir/control"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/source/kube"
	"weir.dev/weir/internal/logging"
	"weir.dev/weir/proxy"
)

// objects are files whose objects one proxy serves.
type objects struct {
	// paths as they were given: folders are watched for further files.
	paths []string
	// kubeconfig and context name a cluster instead.
	kubeconfig, context string
	// pool has addresses for Gateways; "" is none.
	pool string
	// admin is where the proxy's admin listens; "" is nowhere.
	admin string
	// registration is where version 1 of service discovery is answered; "" is nowhere.
	registration string
	// place is where the proxy is.
	place build.Place
	// limit is told of the limits that objects ask for.
	limit   func([]*rlsconfv3.RateLimitConfig)
	control control.Options
}

// defaultAdmin is where the admin of a proxy that has no bootstrap listens.
const defaultAdmin = "127.0.0.1:9901"

// Serve starts a proxy that serves what objects say.
func (p *proxies) Serve(o objects, f *flags.Proxy, log *slog.Logger) (engine, error) {
	keepHeap()
	bootstrap, err := bare(o.admin)
	if err != nil {
		return nil, err
	}
	options, err := p.options([]document{{"--admin", []byte(bootstrap)}}, f, log)
	if err != nil {
		return nil, err
	}
	running, err := proxy.New(options)
	if err != nil {
		return nil, err
	}
	opts := gateway.Options{Control: o.control, Paths: o.paths, Skip: demo.NotObjects, Proxy: running, Log: log, Limit: o.limit, Place: o.place}
	var answers *registry
	if o.registration != "" {
		if answers, err = serveRegistration(o.registration, log); err != nil {
			running.Close()
			return nil, err
		}
		opts.Changed = answers.Set
	}
	g, err := o.start(opts)
	if err != nil {
		answers.stop()
		running.Close()
		return nil, err
	}
	return &serving{running, g, answers}, nil
}

func (o *objects) start(opts gateway.Options) (*gateway.Gateway, error) {
	if o.pool != "" {
		var err error
		if opts.Pool, err = netip.ParsePrefix(o.pool); err != nil {
			return nil, fmt.Errorf("--addresses %q: want a range such as 10.0.0.0/24: %w", o.pool, err)
		}
	}
	if o.kubeconfig == "" {
		return gateway.Start(opts)
	}
	cluster, err := connect(context.Background(), o.kubeconfig, o.context, opts.Log)
	if err != nil {
		return nil, err
	}
	return gateway.StartCluster(cluster, opts), nil
}

// connect finds a cluster, and has what Kubernetes' clients log themselves be logged as all else is.
func connect(ctx context.Context, kubeconfig, name string, log *slog.Logger) (*kube.Cluster, error) {
	klog.SetSlogLogger(logging.Component(log, "kubernetes"))
	return kube.Connect(ctx, kubeconfig, name)
}

// bare returns a bootstrap with nothing but an admin, or not even that.
func bare(admin string) (string, error) {
	if admin == "" {
		return "{}", nil
	}
	host, port, err := net.SplitHostPort(admin)
	if err != nil {
		return "", fmt.Errorf("--admin %q: want host:port: %w", admin, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || net.ParseIP(host) == nil {
		return "", fmt.Errorf("--admin %q: want an IP address and a port", admin)
	}
	return fmt.Sprintf("admin: {address: {socket_address: {address: %q, port_value: %d}}}", host, n), nil
}

// serving is a proxy that objects configure.
type serving struct {
	*proxy.Proxy // Close, AdminAddr, Listeners, ReopenLogs
	*gateway.Gateway
	answers *registry
}

// Close ends at once.
func (s *serving) Close() {
	s.answers.stop()
	s.Proxy.Close()
}

// Run serves until ctx ends, and drains.
func (s *serving) Run(ctx context.Context) error { return s.Gateway.Run(ctx) }

// Calls is empty: whom it calls changes with the objects.
func (s *serving) Calls() []string { return nil }
