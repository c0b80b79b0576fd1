// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"

	"weir.dev/weir/proxy/secret"
)

// staplePolicy is Envoy's OcspStaplePolicy, with its numbers.
type staplePolicy uint8

const (
	lenientStapling staplePolicy = iota
	strictStapling
	mustStaple
)

// stapling is what becomes of a request for a stapled OCSP response.
type stapling uint8

const (
	notAsked stapling = iota
	stapled
	omitted
	refused
)

// choice chooses among a server's certificates.
type choice struct {
	certs    []*candidate
	names    map[string][]*candidate // exact names; ".example.com" for *.example.com
	policy   staplePolicy
	fullScan bool
	hasRSA   bool
}

// candidate is a certificate as handshakes use it.
type candidate struct {
	*secret.Certificate
	// bare is the certificate without its OCSP response.
	bare  tls.Certificate
	curve tls.CurveID // of an ECDSA key, otherwise 0
}

func newChoice(certs []*secret.Certificate, p staplePolicy, fullScan bool) *choice {
	c := &choice{names: map[string][]*candidate{}, policy: p, fullScan: fullScan}
	for _, s := range certs {
		k := &candidate{Certificate: s, bare: s.TLS}
		k.bare.OCSPStaple = nil
		if pub, ok := s.Chain[0].PublicKey.(*ecdsa.PublicKey); ok {
			switch pub.Curve.Params().Name {
			case "P-256":
				k.curve = tls.CurveP256
			case "P-384":
				k.curve = tls.CurveP384
			case "P-521":
				k.curve = tls.CurveP521
			}
		}
		c.certs = append(c.certs, k)
		c.hasRSA = c.hasRSA || s.Chain[0].PublicKeyAlgorithm == x509.RSA
		for _, n := range s.Names {
			if strings.HasPrefix(n, "*.") {
				n = n[1:]
			}
			// Of several certificates for a name with the same kind of key the first counts.
			if !slices.ContainsFunc(c.names[n], func(o *candidate) bool {
				return o.Chain[0].PublicKeyAlgorithm == s.Chain[0].PublicKeyAlgorithm
			}) {
				c.names[n] = append(c.names[n], k)
			}
		}
	}
	return c
}

var errStaple = errors.New("the certificate has no valid OCSP response to staple, and ocsp_staple_policy demands one")

// pick chooses the certificate for a client and notes on its connection what the
// hello tells.
func (s *Server) pick(c *choice, h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.requireSNI && h.ServerName == "" {
		return nil, errNoSNI
	}
	k, action := c.find(h)
	out := &k.TLS
	if action != stapled {
		out = &k.bare
	}
	if w, ok := h.Conn.(*wire); ok {
		w.local, w.offered = out, h.SupportedProtos
		countStaple(w, action)
	}
	if action == refused {
		return nil, errStaple
	}
	return out, nil
}

func countStaple(w *wire, a stapling) {
	switch a {
	case notAsked:
		return
	case stapled:
		w.stats.StapleResponses.Inc()
	case omitted:
		w.stats.StapleOmitted.Inc()
	case refused:
		w.stats.StapleFailed.Inc()
	}
	w.stats.StapleRequests.Inc()
}

// find is Envoy's choice: by exact name, then by wildcard, then, if it is allowed or
// there is no name, any; ECDSA first for clients that know it; the first certificate
// if nothing fits.
func (c *choice) find(h *tls.ClientHelloInfo) (*candidate, stapling) {
	const statusRequest = 5 // RFC 6066 §8
	asked := slices.Contains(h.Extensions, statusRequest)
	if len(c.certs) == 1 {
		return c.certs[0], c.staple(c.certs[0], asked)
	}
	p := &picking{choice: c, asked: asked, now: time.Now()}
	if knowsECDSA(h) {
		p.curves, p.ecdsa = h.SupportedCurves, true
	}
	if h.ServerName != "" {
		name := strings.ToLower(h.ServerName)
		p.among(c.names[name])
		if p.best() == nil {
			if i := strings.IndexByte(name[1:], '.') + 1; i > 0 && i < len(name)-1 {
				p.among(c.names[name[i:]])
			}
		}
		if k := p.best(); k != nil {
			return k, p.action(k)
		}
		if !c.fullScan {
			return c.certs[0], p.action(c.certs[0])
		}
	}
	if p.ecdsa || c.hasRSA {
		p.among(c.certs)
	}
	k := p.best()
	if k == nil {
		k = c.certs[0]
	}
	return k, p.action(k)
}

// picking is one choice in the making.
type picking struct {
	*choice
	asked  bool
	now    time.Time
	ecdsa  bool
	curves []tls.CurveID

	chosen, fallback *candidate
}

func (p *picking) best() *candidate {
	if p.chosen != nil {
		return p.chosen
	}
	return p.fallback
}

func (p *picking) among(list []*candidate) {
	for _, k := range list {
		if p.action(k) == refused {
			continue
		}
		switch {
		case k.curve != 0 && p.ecdsa && slices.Contains(p.curves, k.curve), k.curve == 0 && !p.ecdsa:
			p.chosen = k
			return
		case k.curve == 0 && p.fallback == nil:
			p.fallback = k
		}
	}
}

func (p *picking) action(k *candidate) stapling { return p.stapleAt(k, p.asked, p.now) }

func (c *choice) staple(k *candidate, asked bool) stapling {
	if !asked {
		return notAsked
	}
	return c.stapleAt(k, asked, time.Now())
}

func (c *choice) stapleAt(k *candidate, asked bool, now time.Time) stapling {
	if !asked {
		return notAsked
	}
	policy, valid := c.policy, k.HasOCSP(now)
	if k.MustStaple {
		policy = mustStaple
	}
	switch {
	case valid:
		return stapled
	case policy == mustStaple, policy == strictStapling && len(k.TLS.OCSPStaple) > 0:
		return refused
	}
	return omitted
}

// knowsECDSA tells whether a client takes ECDSA certificates.
func knowsECDSA(h *tls.ClientHelloInfo) bool {
	if !slices.ContainsFunc(h.SignatureSchemes, func(s tls.SignatureScheme) bool {
		return s == tls.ECDSAWithP256AndSHA256 || s == tls.ECDSAWithP384AndSHA384 || s == tls.ECDSAWithP521AndSHA512
	}) {
		return false
	}
	return slices.Contains(h.SupportedVersions, tls.VersionTLS13) || slices.ContainsFunc(h.CipherSuites, func(id uint16) bool {
		return strings.HasPrefix(tls.CipherSuiteName(id), "TLS_ECDHE_ECDSA_")
	})
}
