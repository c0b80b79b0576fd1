// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"weir.dev/weir/test/kube/kubetest"
)

// certified makes an authority, and a certificate of it for each service account of the namespace default.
func certified(t *testing.T, accounts ...string) (text string, certificates, keys map[string]string) {
	t.Helper()
	a := newAuthority(t)
	certificates, keys = map[string]string{}, map[string]string{}
	for _, account := range accounts {
		certificates[account], keys[account] = a.sign(t, &x509.Certificate{
			Subject: pkix.Name{CommonName: account}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			URIs: []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/default/sa/" + account}},
		})
	}
	return a.text, certificates, keys
}

// tokenProxy is a proxy that starts from what those of the Gateway start from, as another service account.
const tokenProxy = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: intruder, namespace: default}
---
apiVersion: v1
kind: Pod
metadata: {name: intruder, namespace: default}
spec:
  serviceAccountName: intruder
  containers:
  - name: proxy
    image: weir
    args: [proxy, -c, /etc/weir/bootstrap.yaml, --service-node, intruder]
    volumeMounts: [{name: config, mountPath: /etc/weir}, {name: token, mountPath: /var/run/secrets/weir.dev}]
  volumes:
  - {name: config, configMap: {name: edge-weir}}
  - {name: token, projected: {sources: [{serviceAccountToken: {path: token, audience: weir-control, expirationSeconds: 3600}}]}}
`

// certificateProxy is a proxy that has a certificate of a service account, and no token.
const certificateProxy = `
apiVersion: v1
kind: Secret
metadata: {name: NAME, namespace: default}
data: {tls.crt: CERTIFICATE, tls.key: KEY}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: NAME, namespace: default}
data:
  bootstrap.yaml: |
    node: {id: NAME, cluster: default/edge}
    dynamic_resources:
      ads_config:
        api_type: DELTA_GRPC
        transport_api_version: V3
        grpc_services: [{envoy_grpc: {cluster_name: control}}]
      cds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
      lds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
    static_resources:
      clusters:
      - name: control
        type: STRICT_DNS
        connect_timeout: 5s
        typed_extension_protocol_options:
          envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
            "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
            explicit_http_config: {http2_protocol_options: {}}
        transport_socket:
          name: envoy.transport_sockets.tls
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
            sni: weir-control.weir-system.svc
            common_tls_context:
              tls_certificates: [{certificate_chain: {filename: /etc/certificate/tls.crt}, private_key: {filename: /etc/certificate/tls.key}}]
              validation_context: {trusted_ca: {filename: /etc/authority/ca.crt}}
        load_assignment:
          cluster_name: control
          endpoints:
          - lb_endpoints:
            - endpoint: {address: {socket_address: {address: weir-control.weir-system.svc, port_value: 18000}}}
---
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: default, labels: {by: certificate}}
spec:
  containers:
  - name: proxy
    image: weir
    args: [proxy, -c, /etc/weir/bootstrap.yaml]
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
    volumeMounts: [{name: config, mountPath: /etc/weir}, {name: certificate, mountPath: /etc/certificate}, {name: authority, mountPath: /etc/authority}]
  volumes:
  - {name: config, configMap: {name: NAME}}
  - {name: certificate, secret: {secretName: NAME}}
  - {name: authority, configMap: {name: edge-weir, items: [{key: ca.crt, path: ca.crt}]}}
`

// says waits until a Pod has written something.
func says(t *testing.T, c kubetest.Cluster, namespace, pod, want string) {
	t.Helper()
	c.Until(t, pod+" to say "+want, func(ctx context.Context) error {
		out, err := c.Output(ctx, namespace, pod, "")
		if err == nil && !strings.Contains(out, want) {
			err = errors.New(out[max(0, len(out)-1000):])
		}
		return err
	})
}

// TestIdentity has proxies ask for a Gateway: by a token or a certificate, those of its service account are served, and
// those of another are told whose it is.
func TestIdentity(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	c.Install(t)
	authority, certificates, keys := certified(t, "edge-weir", "another")
	c.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: ConfigMap
metadata: {name: proxies, namespace: weir-system}
data: {ca.crt: %q}
`, authority))
	patch := []byte(`{"spec": {"template": {"spec": {
		"volumes": [{"name": "proxies", "configMap": {"name": "proxies"}}],
		"containers": [{
			"name": "control", "image": "weir",
			"args": ["control", "--listen", ":18000", "--health", ":18001", "--provision", "--proxy-image", "weir", "--client-ca", "/etc/proxies/ca.crt"],
			"env": [{"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
			"ports": [{"name": "xds", "containerPort": 18000}, {"name": "health", "containerPort": 18001}],
			"readinessProbe": {"httpGet": {"path": "/readyz", "port": "health"}, "periodSeconds": 2},
			"volumeMounts": [{"name": "proxies", "mountPath": "/etc/proxies"}]
		}]
	}}}}`)
	if err := c.Patch(t.Context(), `{apiVersion: apps/v1, kind: Deployment, metadata: {name: weir-control, namespace: weir-system}}`, patch); err != nil {
		t.Fatal(err)
	}
	c.Apply(t, objects)
	programmed(t, c)
	c.Apply(t, tokenProxy)
	for _, name := range []string{"edge-weir", "another"} {
		encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
		c.Apply(t, strings.NewReplacer("NAME", "by-"+name, "CERTIFICATE", encode(certificates[name]), "KEY", encode(keys[name])).Replace(certificateProxy))
	}
	says(t, c, "default", "intruder", "the proxy is service account default/intruder: Gateway default/edge is served to service account default/edge-weir")
	says(t, c, "default", "by-another", "the proxy is service account default/another: Gateway default/edge is served to service account default/edge-weir")
	c.Until(t, "the proxy with the certificate to serve", func(ctx context.Context) error {
		pods, err := c.Pods(ctx, "default", "by=certificate")
		if err != nil {
			return err
		}
		ready := map[string]bool{}
		for _, p := range pods {
			for _, s := range p.Status.ContainerStatuses {
				ready[p.Name] = s.Ready
			}
		}
		if !ready["by-edge-weir"] || ready["by-another"] {
			return fmt.Errorf("ready: %v", ready)
		}
		return nil
	})
}

// TestMissingRights takes a right from the control plane: it says which, and goes on when it has it.
func TestMissingRights(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	c.Install(t)
	const role = `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: weir-provision}}`
	if err := c.Patch(t.Context(), role, []byte(`{"rules": [{"apiGroups": [""], "resources": ["services", "configmaps", "serviceaccounts"], "verbs": ["list", "create", "patch", "delete"]}]}`)); err != nil {
		t.Fatal(err)
	}
	c.Apply(t, objects)
	pod := c.Running(t, "weir-system", "weir-control")
	says(t, c, "weir-system", pod, "apply deployments default/edge-weir: give the control plane the rights of deploy/control.yaml: ")
	says(t, c, "weir-system", pod, `cannot patch resource`)
	c.Install(t)
	programmed(t, c)
}
