// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"weir.dev/weir/control/source"
)

// An Identity is a service account of Kubernetes.
type Identity struct{ Namespace, Account string }

// String returns "service account edges/edge-weir".
func (i Identity) String() string { return "service account " + i.Namespace + "/" + i.Account }

// A Guard says who may be served what: a proxy has the identity of a service account, by
// a token or by its certificate (spiffe://…/ns/NAMESPACE/sa/ACCOUNT), and is served the
// Gateways whose account that is. A certificate that was verified and names no account is
// served all.
type Guard struct {
	// Review returns whose token it is. Nil refuses all tokens.
	Review func(ctx context.Context, token string) (Identity, error)
}

// accountOf returns the service account of the proxies of a Gateway of a class.
func (r *Runner) accountOf(gateway source.Name, class string) Identity {
	at := r.o.Namespaces.Place(gateway, class)
	return Identity{at.Namespace, at.Name}
}

// admit says whether who asks by ctx may be served a Gateway.
func (r *Runner) admit(ctx context.Context, gateway source.Name) error {
	who, err := r.o.Guard.identify(ctx)
	if err != nil || who == nil {
		return err
	}
	r.mu.Lock()
	class, ok := r.classes[gateway]
	r.mu.Unlock()
	if !ok && gateway.Namespace != "" { // Others are no objects, and have no class.
		return fmt.Errorf("there is no Gateway %s", gateway)
	}
	if want := r.accountOf(gateway, class); *who != want {
		return fmt.Errorf("the proxy is %v: Gateway %s is served to %v", who, gateway, want)
	}
	return nil
}

// identify returns who asks; nil is who may do all.
func (g *Guard) identify(ctx context.Context) (*Identity, error) {
	if cert := certificate(ctx); cert != nil {
		return accountOf(cert), nil
	}
	token := bearer(ctx)
	if token == "" {
		return nil, errors.New("the proxy does not say who it is: give it a token of its service account, or a certificate")
	}
	if g.Review == nil {
		return nil, errors.New("tokens are not taken here: give the proxy a certificate")
	}
	who, err := g.Review(ctx, token)
	if err != nil {
		return nil, err
	}
	return &who, nil
}

// certificate returns the certificate that the peer was verified by, or nil.
func certificate(ctx context.Context) *x509.Certificate {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	tls, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(tls.State.VerifiedChains) == 0 {
		return nil
	}
	return tls.State.VerifiedChains[0][0]
}

// accountOf reads the service account of a certificate.
func accountOf(cert *x509.Certificate) *Identity {
	for _, u := range cert.URIs {
		if u.Scheme != "spiffe" {
			continue
		}
		if parts := strings.Split(u.Path, "/"); len(parts) == 5 && parts[1] == "ns" && parts[3] == "sa" {
			return &Identity{parts[2], parts[4]}
		}
		return &Identity{} // Somebody, but nobody who is known.
	}
	return nil
}

func bearer(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, v := range md.Get("authorization") {
		if scheme, token, ok := strings.Cut(v, " "); ok && strings.EqualFold(scheme, "bearer") {
			return token
		}
	}
	return ""
}
