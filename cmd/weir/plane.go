// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"weir.dev/weir/cmd/weir/ads"
	"weir.dev/weir/cmd/weir/demo"
	"weir.dev/weir/cmd/weir/gateway"
	"weir.dev/weir/control/fleet"
	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/leader"
	"weir.dev/weir/control/peers"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/source/kube"
	"weir.dev/weir/control/trust"
)

// shared is the name of the Secret and of the Lease that the replicas of a control plane
// share, and of the Service that leads to them.
const shared = "weir-control"

// check says what is wrong with the flags together.
func (p *plane) check() error {
	host, _, err := net.SplitHostPort(p.listen)
	if err != nil {
		return fmt.Errorf("--listen %q: want host:port: %w", p.listen, err)
	}
	local := host == "localhost"
	if ip := net.ParseIP(host); ip != nil {
		local = ip.IsLoopback()
	}
	given := p.files.Certificate != "" && p.files.Key != "" && p.files.ClientCA != ""
	clients := p.own() && p.files == ads.Files{ClientCA: p.files.ClientCA}
	switch {
	case len(p.paths) > 0 && p.kubeconfig != "":
		return errors.New("give paths or --kubeconfig: objects come from one of both")
	case p.files != ads.Files{} && !clients && (!given || p.insecure):
		return errors.New("--tls-certificate, --tls-key and --client-ca go together, and without --insecure; in a cluster, with --namespace, --client-ca may be alone")
	case p.provision && (!p.own() || p.image == ""):
		return errors.New("--provision needs a cluster, --namespace and --proxy-image, and the control plane's own certificates: " +
			"leave paths, --tls-certificate and --insecure out")
	case p.proxies != "" && !p.provision:
		return errors.New("--proxy-namespace says where --provision runs proxies: give both")
	case !given && !p.own() && !local && !p.insecure:
		return fmt.Errorf("--listen %s is not a loopback address: give --tls-certificate, --tls-key and --client-ca or, in a cluster, --namespace: "+
			"configuration holds private keys; or --insecure, where nobody else can connect", p.listen)
	}
	return nil
}

// own tells that the control plane makes its certificates itself.
func (p *plane) own() bool {
	return len(p.paths) == 0 && p.namespace != "" && p.files.Certificate == "" && p.files.Key == "" && !p.insecure
}

// namespaces are where the proxies are.
func (p *plane) namespaces() infra.Namespaces {
	return infra.Namespaces{Own: p.namespace, All: p.proxies}
}

// start opens the sockets and reads the objects.
func (p *plane) start(ctx context.Context, log *slog.Logger) (g *gateway.Gateway, closeAll func(), err error) {
	keepHeap()
	var cluster *kube.Cluster
	if len(p.paths) == 0 {
		if cluster, err = connect(ctx, p.kubeconfig, p.context, log); err != nil {
			return nil, nil, err
		}
	}
	o := fleet.Options{Queue: &source.Queue{}, Log: log, Identifier: "weir", Provisioned: p.provision, Namespaces: p.namespaces()}
	listen := ads.Options{Address: p.listen, Health: p.health}
	f := &gateway.Fleet{Queue: o.Queue}
	switch {
	case p.files.Certificate != "":
		o.Guard = &fleet.Guard{}
		listen.TLS, err = p.files.TLS(func(err error) { log.Warn(err.Error()) })
	case p.own():
		err = p.belong(ctx, cluster, &o, &listen, f, log)
	}
	if err != nil {
		return nil, nil, err
	}
	server, err := ads.Listen(listen)
	if err != nil {
		return nil, nil, err
	}
	runner := fleet.New(o)
	if f.Member != nil {
		f.Member.Teller = runner
	}
	runner.Register(server.GRPC())
	var answers *registry
	if p.registration != "" {
		if answers, err = serveRegistration(p.registration, log); err != nil {
			server.Close()
			runner.Close()
			return nil, nil, err
		}
	}
	closeAll = func() { answers.stop(); server.Close(); runner.Close() }
	f.Runner, f.Serve = runner, func(ctx context.Context) error { return server.Serve(ctx, runner.Begun()) }
	p.control.Provision, p.control.Namespaces = p.provision, p.namespaces()
	all := gateway.Options{Control: p.control, Paths: p.paths, Skip: demo.NotObjects, Log: log, Fleet: f}
	if answers != nil {
		all.Changed = answers.Set
	}
	if cluster != nil {
		g = gateway.StartCluster(cluster, all)
	} else if g, err = gateway.Start(all); err != nil {
		closeAll()
		return nil, nil, err
	}
	log.Info("listening for proxies", "address", server.Addr(), "health", server.HealthAddr())
	return g, closeAll, nil
}

// belong has the control plane be one of a cluster's replicas: with certificates of an
// authority that they share, tokens of the cluster's, and one that leads.
func (p *plane) belong(ctx context.Context, c *kube.Cluster, o *fleet.Options, listen *ads.Options, f *gateway.Fleet, log *slog.Logger) error {
	_, port, err := net.SplitHostPort(p.listen)
	if err != nil {
		return err
	}
	if p.server == "" {
		p.server = net.JoinHostPort(shared+"."+p.namespace+".svc", port)
	}
	host, _, err := net.SplitHostPort(p.server)
	if err != nil {
		return fmt.Errorf("--server %q: want host:port: %w", p.server, err)
	}
	const cert, key = "ca.crt", "ca.key"
	data, err := c.Shared(ctx, p.namespace, shared, func() (map[string][]byte, error) {
		certificate, private, err := trust.Make(time.Now())
		return map[string][]byte{cert: certificate, key: private}, err
	})
	if err != nil {
		return err
	}
	authority, err := trust.Read(data[cert], data[key])
	if err != nil {
		return fmt.Errorf("Secret %s/%s: %w: delete it, and a new one is made", p.namespace, shared, err)
	}
	name := shared + "." + p.namespace
	listen.TLS = authority.Server(host, name, name+".svc")
	if p.files.ClientCA != "" {
		if listen.TLS, err = p.files.Of(listen.TLS, func(err error) { log.Warn(err.Error()) }); err != nil {
			return err
		}
	}
	o.Guard = &fleet.Guard{Review: func(ctx context.Context, token string) (fleet.Identity, error) {
		return c.Review(ctx, token, infra.Audience)
	}}
	if p.provision {
		run := infra.Options{Image: p.image, Server: p.server, CA: string(data[cert]), Namespaces: p.namespaces(), Controller: p.control.ControllerName(), Key: data[key]}
		f.Provisioner = infra.NewProvisioner(c, run, log)
		o.Lost = f.Provisioner.Again
	}
	identity, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("the name of this replica: %w", err)
	}
	identity = fmt.Sprintf("%s-%d", identity, os.Getpid())
	f.Elector = &leader.Elector{Lease: c.Lease(p.namespace, shared), Identity: identity, Log: log}
	f.Member = peers.New(c.Board(p.namespace, shared, log), identity, log)
	o.Shared = f.Member.Wake
	return nil
}
