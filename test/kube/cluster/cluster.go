// SPDX-License-Identifier: Apache-2.0

// Package cluster starts Kubernetes: etcd, kube-apiserver, the controllers, kube-proxy, a DNS server, the kubelet of one
// node, and what gives Services of type LoadBalancer their addresses. All but the last two are Kubernetes' and CoreDNS'
// own programs. One cluster may run in a network namespace at a time; it must not be the machine's.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"weir.dev/weir/test/kube/kubelet"
)

// Patience bounds every wait for the cluster.
const Patience = 2 * time.Minute

// look is how often a wait looks again.
const look = 25 * time.Millisecond

// domain is the cluster's in DNS.
const domain = "cluster.local"

// Addresses of the cluster. All are the node's own, or routed by it.
var (
	nodeAddress   = netip.MustParseAddr("10.244.0.1")
	podPrefix     = netip.MustParsePrefix("10.244.0.0/16")
	servicePrefix = netip.MustParsePrefix("10.96.0.0/16")
	// Pool is what Services of type LoadBalancer have their addresses from. Of the first half they are given some; from
	// the second a Service may ask for one in loadBalancerIP.
	Pool = netip.MustParsePrefix("10.245.0.0/16")
	// Local are addresses that processes of the node may bind to.
	Local     = netip.MustParsePrefix("10.246.0.0/16")
	apiServer = netip.AddrPortFrom(nodeAddress, 6443)
)

// Options say what a cluster is made from.
type Options struct {
	Dir      string                   // of its own, and empty
	Kubeone  string                   // programs
	Podinit  string                   //
	CoreDNS  string                   //
	Images   map[string]kubelet.Image // by name
	Manifest []string                 // YAML files, or folders of them, that are applied at the start
	Names    map[string]netip.Addr    // that pods find by DNS besides those of Services
	Audit    string                   // a user whose requests are written down; "" is nobody
	Log      *slog.Logger
}

// A Cluster is one that runs.
type Cluster struct {
	Options
	Config  *rest.Config // of its administrator
	Client  *kubernetes.Clientset
	Dynamic *dynamic.DynamicClient
	mapper  *restmapper.DeferredDiscoveryRESTMapper

	mu        sync.Mutex
	processes []*process // in the order of their start
	stop      context.CancelFunc
	all       sync.WaitGroup
}

// Kubeconfig returns the file that names the cluster and its administrator.
func (c *Cluster) Kubeconfig() string { return c.file("kubeconfig") }

// Logs returns the folder of everything's logs: a file for each program and each container.
func (c *Cluster) Logs() string { return c.file("logs") }

func (c *Cluster) file(name string) string { return filepath.Join(c.Dir, name) }

// Start starts a cluster and returns once it takes workloads. What it started it stops again if that fails.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	c := &Cluster{Options: o}
	running, stop := context.WithCancel(context.Background())
	c.stop = stop
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"make the network", func(context.Context) error { return makeNetwork() }},
		{"write keys", func(context.Context) error { return c.writeKeys() }},
		{"make clients", func(context.Context) error { return c.makeClients() }},
		{"start etcd", c.startEtcd},
		{"start kube-apiserver", c.startAPIServer},
		{"start the node", func(ctx context.Context) error { return c.startNode(ctx, running) }},
		{"apply what is asked for", c.applyManifests},
		{"wait for the default service account", c.hasAccount},
	} {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			c.Stop()
			return nil, fmt.Errorf("%s: %w%s", step.name, err, c.tails())
		}
		o.Log.Debug(step.name, "took", time.Since(began).Round(time.Millisecond))
	}
	return c, nil
}

// Stop ends everything of the cluster and waits for it.
func (c *Cluster) Stop() {
	c.stop()
	c.all.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.processes) - 1; i >= 0; i-- {
		c.processes[i].kill()
	}
}

func (c *Cluster) makeClients() error {
	var err error
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig()); err != nil {
		return err
	}
	c.Config.QPS, c.Config.Burst = 500, 1000
	if c.Client, err = kubernetes.NewForConfig(c.Config); err != nil {
		return err
	}
	if c.Dynamic, err = dynamic.NewForConfig(c.Config); err != nil {
		return err
	}
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.Client.Discovery()))
	return nil
}

func (c *Cluster) startEtcd(context.Context) error {
	return c.start("etcd", c.Kubeone, "etcd", "--data-dir="+c.file("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--quota-backend-bytes=4294967296")
}

func (c *Cluster) startAPIServer(ctx context.Context) error {
	audit, err := c.auditFlags()
	if err != nil {
		return err
	}
	p, err := c.launch("kube-apiserver", nil, append([]string{
		c.Kubeone, "kube-apiserver",
		"--etcd-servers=http://127.0.0.1:2379", "--bind-address=0.0.0.0", fmt.Sprintf("--secure-port=%d", apiServer.Port()),
		"--advertise-address=" + nodeAddress.String(), "--service-cluster-ip-range=" + servicePrefix.String(),
		"--tls-cert-file=" + c.file(serverCertificate), "--tls-private-key-file=" + c.file(serverKey),
		"--service-account-key-file=" + c.file(accountKey), "--service-account-signing-key-file=" + c.file(accountKey),
		"--service-account-issuer=https://kubernetes.default.svc", "--token-auth-file=" + c.file(tokens),
		"--authorization-mode=RBAC", "--kubelet-preferred-address-types=InternalIP", "--allow-privileged=true", "--profiling=false",
	}, audit...)...)
	if err != nil {
		return err
	}
	return c.until(ctx, "the apiserver to be ready", func(ctx context.Context) error {
		select {
		case <-p.ended:
			return permanent{errors.New("it has ended")}
		default:
		}
		answer, err := c.Client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil && !bytes.Equal(answer, []byte("ok")) {
			err = fmt.Errorf("it says %s", answer)
		}
		return err
	})
}

// RestartAPIServer ends the apiserver, as a crash does, calls meanwhile, and starts it again.
func (c *Cluster) RestartAPIServer(ctx context.Context, meanwhile func()) error {
	c.mu.Lock()
	for _, p := range c.processes {
		if p.name == "kube-apiserver" {
			p.kill()
		}
	}
	c.mu.Unlock()
	meanwhile()
	return c.startAPIServer(ctx)
}

// startNode starts what a node has, and the controllers.
func (c *Cluster) startNode(ctx, running context.Context) error {
	if err := c.writeConfiguration(); err != nil {
		return err
	}
	err := errors.Join(
		c.start("controllers", c.Kubeone, "controllers", "-kubeconfig="+c.Kubeconfig(), "-root-ca-file="+c.file(authority)),
		c.start("coredns", c.CoreDNS, "-conf", c.file("Corefile")),
	)
	if err != nil {
		return err
	}
	k := kubelet.New(kubelet.Config{
		Client: c.Client, Node: "node", Address: nodeAddress, Pods: podPrefix, Dir: c.file("pods"), Logs: c.Logs(),
		Podinit: c.Podinit, Images: c.Images, APIServer: apiServer, DNS: nodeAddress, Domain: domain, Log: c.Log,
	})
	failed := make(chan error, 1)
	c.all.Go(func() { failed <- k.Run(running) })
	c.all.Go(func() { c.balance(running) })
	err = c.until(ctx, "the node to be registered", func(ctx context.Context) error {
		select {
		case err := <-failed:
			return permanent{err}
		default:
		}
		_, err := c.Client.CoreV1().Nodes().Get(ctx, "node", metav1.GetOptions{})
		return err
	})
	if err != nil {
		return err
	}
	// It asks for its node's address at the start.
	return c.start("kube-proxy", c.Kubeone, "kube-proxy", "--config="+c.file("kube-proxy.yaml"))
}

// writeConfiguration writes the files that CoreDNS and kube-proxy are configured by.
func (c *Cluster) writeConfiguration() error {
	dns := fmt.Appendf(nil, `.:53 {
    bind %s
    errors
    kubernetes %s {
        kubeconfig %s
        ttl 1
    }
%s}
`, nodeAddress, domain, c.Kubeconfig(), c.names())
	// Settings of the kernel that only the machine's own network has are left alone.
	proxy := fmt.Appendf(nil, `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: %s}
hostnameOverride: node
mode: nftables
clusterCIDR: %s
nftables: {minSyncPeriod: 20ms, syncPeriod: 30s}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, c.Kubeconfig(), podPrefix)
	return errors.Join(os.WriteFile(c.file("Corefile"), dns, 0o644), os.WriteFile(c.file("kube-proxy.yaml"), proxy, 0o644))
}

// names is what CoreDNS is told of the names that are not of the cluster.
func (c *Cluster) names() string {
	if len(c.Names) == 0 {
		return ""
	}
	out := "    hosts {\n"
	for _, name := range slices.Sorted(maps.Keys(c.Names)) {
		out += fmt.Sprintf("        %s %s\n", c.Names[name], name)
	}
	return out + "        fallthrough\n    }\n"
}

func (c *Cluster) hasAccount(ctx context.Context) error {
	return c.until(ctx, "the default service account", func(ctx context.Context) error {
		_, err := c.Client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// permanent is an error that no waiting mends.
type permanent struct{ error }

// until calls f until it returns nil, and says what f said last if ctx ends before.
func (c *Cluster) until(ctx context.Context, what string, f func(context.Context) error) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if p := (permanent{}); errors.As(err, &p) {
			return p.error
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, err)
		case <-tick.C:
		}
	}
}

// Until waits until f returns nil, for as long as ctx and Patience last. f says what is still missing.
func (c *Cluster) Until(ctx context.Context, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	return c.until(ctx, what, f)
}

// gone tells whether an error says that there is no such object.
func gone(err error) bool { return apierrors.IsNotFound(err) }
