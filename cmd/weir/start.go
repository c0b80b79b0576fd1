// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"os"
	"runtime/debug"
	"sync"

	"weir.dev/weir/cmd/weir/flags"
	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/headroom"
	"weir.dev/weir/proxy"
)

// proxies is the starter of real proxies.
type proxies struct{}

// options loads the bootstrap and says what the flags make of it.
func (*proxies) options(pieces []document, o *flags.Proxy, log *slog.Logger) (proxy.Options, error) {
	b, positions, err := loadBootstrap(pieces, nil, log)
	return proxy.Options{
		Bootstrap: b, Positions: positions, Concurrency: o.Concurrency, DrainTime: o.DrainTime,
		ServiceNode: o.ServiceNode, ServiceCluster: o.ServiceCluster, ServiceZone: o.ServiceZone,
		AdminAddressPath: o.AdminAddressPath, Log: log, Extensions: all.Extensions(),
		Version:          versionLine(debug.ReadBuildInfo()),
		DrainImmediately: o.DrainStrategy == flags.Immediate, Limiter: o.Limiter, Limits: o.Limits,
	}, err
}

func (p *proxies) Check(pieces []document, o *flags.Proxy, log *slog.Logger) error {
	options, err := p.options(pieces, o, log)
	if err != nil {
		return err
	}
	return proxy.Check(options) // compiles everything, binds nothing
}

// leanPercent and garbageRoom bound the garbage that the heap holds: a fifth of what is
// alive, and up to 32 MiB while garbage is made quickly, as TLS handshakes do.
const (
	leanPercent = 20
	garbageRoom = 32 << 20
)

// keepHeap makes the heap keep little in reserve, for proxies and control planes alike.
// The request path allocates nothing, so collecting often costs no time, and idle
// connections cost less memory; a control plane makes garbage as objects change, and
// is at rest otherwise. A GOGC in the environment is obeyed instead. It is done once
// for the process.
var keepHeap = sync.OnceFunc(func() {
	if os.Getenv("GOGC") == "" {
		headroom.Keep(leanPercent, garbageRoom)
	}
})

func (p *proxies) Start(pieces []document, o *flags.Proxy, log *slog.Logger) (engine, error) {
	keepHeap()
	options, err := p.options(pieces, o, log)
	if err != nil {
		return nil, err
	}
	running, err := proxy.New(options)
	if err != nil {
		return nil, err
	}
	return &calling{running, calledAddresses(options.Bootstrap)}, nil
}

// calling is a proxy that knows whom its bootstrap has it call.
type calling struct {
	*proxy.Proxy // Run, Close, AdminAddr, Listeners, ReopenLogs
	calls        []string
}

func (c *calling) Calls() []string { return c.calls }
