// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"github.com/spf13/cobra"

	"weir.dev/weir/cmd/weir/ads"
	"weir.dev/weir/cmd/weir/flags"
	"weir.dev/weir/cmd/weir/life"
	"weir.dev/weir/control"
)

// plane is the command line of weir control.
type plane struct {
	paths               []string
	kubeconfig, context string
	listen, health      string
	// registration is where version 1 of service discovery is answered; "" is nowhere.
	registration string
	files        ads.Files
	insecure     bool
	// namespace is the control plane's own; server is where proxies reach it.
	namespace, server string
	provision         bool
	image             string
	// proxies is the namespace of all proxies; "" is that of each Gateway.
	proxies  string
	counting counting
	control  control.Options
}

func newControl() *cobra.Command {
	var set *flags.Set
	p := &plane{}
	cmd := &cobra.Command{
		Use:   "control [PATH...]",
		Short: "Run a control plane for proxies elsewhere",
		Long: `Run a control plane: objects of the Gateway API in, configuration for proxies out. The objects are a cluster's, whose
statuses are written; or, if there are paths, those of files and folders, which are watched.

Proxies are Weir's or Envoy's. Each asks over ADS, by deltas or states of the world, and names the Gateway that it
serves in its node.cluster: "weir proxy --service-cluster default/edge". A Gateway is Programmed once all of its
proxies have acknowledged it; what a proxy refuses is told in the Gateway's status, in the proxy's words.

With --provision it runs them itself: for each Gateway a Deployment, a Service and what belongs to them, in the
Gateway's namespace or in --proxy-namespace, as its spec.infrastructure and GatewayParameters say. The Gateway has the Service's addresses.

Proxies are served over TLS. In a cluster, with a --namespace of its own, the control plane makes an authority, kept
in the Secret weir-control, and certificates of it; proxies show a token of their service account, which is served
the Gateway of its namespace that it is called after, GATEWAY-CLASS; with --client-ca, or a certificate. Otherwise give --tls-certificate, --tls-key and
--client-ca: a proxy's certificate may name a service account, as spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT, and one
that names none is served all. On a loopback address, and with --insecure, there may be neither.

Of several replicas all serve proxies, and the one that holds the Lease weir-control writes statuses and provisions.
They tell each other what their proxies have acknowledged, in a Lease each.`,
		Example: `  weir control examples/quickstart
  weir control --namespace weir-system --listen :18000 --provision --proxy-image weir
  weir control --kubeconfig ~/.kube/config --listen :18000 --tls-certificate tls.crt --tls-key tls.key --client-ca ca.crt
  weir proxy -c proxy.yaml --service-cluster default/edge`,
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := set.Proxy()
			if err != nil {
				return err
			}
			p.paths = args
			return p.run(cmd, o)
		},
	}
	set = flags.AddLog(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&p.kubeconfig, "kubeconfig", "", "`file` that names the cluster to read; in a Pod, its own is read without")
	f.StringVar(&p.context, "context", "", "`name` of the kubeconfig's context; its current one, if empty")
	f.StringVar(&p.listen, "listen", "127.0.0.1:18000", "`address` that proxies connect to")
	f.StringVar(&p.health, "health", "", "`address` that answers /healthz and /readyz; empty for none")
	f.StringVar(&p.registration, "registration", "", "`address` to answer version 1 of Envoy's service discovery at, for Services; empty for none")
	f.StringVar(&p.files.Certificate, "tls-certificate", "", "`file` of the certificate that proxies are shown, in PEM; read anew when it changes, as those below")
	f.StringVar(&p.files.Key, "tls-key", "", "`file` of its key")
	f.StringVar(&p.files.ClientCA, "client-ca", "", "`file` of the authorities of proxies' certificates; in a cluster, besides tokens")
	f.StringVar(&p.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "`namespace` of the control plane itself, for what its replicas share ($POD_NAMESPACE)")
	f.BoolVar(&p.provision, "provision", false, "run the proxies of Gateways")
	f.StringVar(&p.image, "proxy-image", "", "`image` of the proxies, whose command is weir")
	f.StringVar(&p.proxies, "proxy-namespace", "", "`namespace` of the proxies of all Gateways (default that of each Gateway)")
	f.StringVar(&p.server, "server", "", "`address` that provisioned proxies find the control plane at (default weir-control.NAMESPACE.svc and the port of --listen)")
	f.BoolVar(&p.insecure, "insecure", false, "serve anybody, in cleartext, on any address: configuration holds private keys")
	addTranslation(cmd, &p.control)
	p.counting.add(cmd)
	for _, name := range []string{"context", "listen", "health", "registration", "namespace", "proxy-image", "proxy-namespace", "server"} {
		complete(cmd, name, cobra.NoFileCompletions)
	}
	for _, name := range []string{"kubeconfig", "tls-certificate", "tls-key", "client-ca"} {
		complete(cmd, name, cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	}
	completeFlags(cmd)
	return cmd
}

func (p *plane) run(cmd *cobra.Command, o *flags.Proxy) error {
	if err := p.check(); err != nil {
		return err
	}
	p.control.Deliver = true
	if err := p.count(); err != nil {
		return err
	}
	logs, reopen, closeLog, err := openLogs(cmd, o)
	if err != nil {
		return err
	}
	defer func() { _ = closeLog() }() // Nothing is left to log the error to.
	log := logs.Logger("main")
	signals, stop := listenForSignals()
	defer stop()
	g, closeAll, err := p.start(cmd.Context(), log)
	if err != nil {
		return err
	}
	defer closeAll()
	return life.Run(cmd.Context(), log, signals, reopen, life.Part{Name: "control", Server: g})
}
