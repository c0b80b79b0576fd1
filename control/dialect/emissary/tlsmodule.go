// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strings"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/graph"
)

// tlsConfig is the configuration of the Module called tls, which Emissary has had before
// TLSContexts.
type tlsConfig struct {
	// Server is what TLS is terminated by.
	Server *struct {
		Enabled               *bool  `json:"enabled,omitempty"`
		Secret                string `json:"secret,omitempty"`
		CertChainFile         string `json:"cert_chain_file,omitempty"`
		PrivateKeyFile        string `json:"private_key_file,omitempty"`
		ALPNProtocols         string `json:"alpn_protocols,omitempty"`
		RedirectCleartextFrom *int32 `json:"redirect_cleartext_from,omitempty"`
	} `json:"server,omitempty"`
	// Client is what clients are verified against.
	Client *struct {
		Enabled         *bool  `json:"enabled,omitempty"`
		Secret          string `json:"secret,omitempty"`
		CACertChainFile string `json:"cacert_chain_file,omitempty"`
		CertRequired    *bool  `json:"cert_required,omitempty"`
	} `json:"client,omitempty"`
}

// The Secrets of a Module tls that names none, and the TLSContext that it is.
const (
	tlsModuleContext   = "server"
	tlsModuleSecret    = "ambassador-certs"
	tlsModuleAuthority = "ambassador-cacert"
)

// readTLS reads the configuration of the Module called tls.
func (i *install) readTLS(m id, config map[string]any) {
	data, err := json.Marshal(config)
	c := &tlsConfig{}
	if err == nil {
		strict := json.NewDecoder(bytes.NewReader(data))
		strict.DisallowUnknownFields()
		err = strict.Decode(c)
	}
	if err != nil {
		i.bad(m, "spec.config", reasonInvalid, "it is left out: %s", misfit(err))
		return
	}
	i.tlsID, i.tls = m, c
}

// context is the TLSContext that the Module is, for the Host of all names; nil if it is none.
func (c *tlsConfig) context() *emissaryv3.TLSContextSpec {
	if c == nil || c.Server == nil || c.Server.Enabled != nil && !*c.Server.Enabled {
		return nil
	}
	s := c.Server
	out := &emissaryv3.TLSContextSpec{Hosts: []string{"*"}, Secret: s.Secret}
	out.CertChainFile, out.PrivateKeyFile, out.ALPNProtocols, out.RedirectCleartextFrom = s.CertChainFile, s.PrivateKeyFile, s.ALPNProtocols, s.RedirectCleartextFrom
	if s.CertChainFile == "" && s.PrivateKeyFile == "" {
		out.Secret = cmp.Or(s.Secret, tlsModuleSecret)
	}
	if l := c.Client; l != nil && (l.Enabled == nil || *l.Enabled) {
		out.CACertChainFile, out.CertRequired = l.CACertChainFile, l.CertRequired
		if out.CASecret = l.Secret; l.CACertChainFile == "" {
			out.CASecret = cmp.Or(l.Secret, tlsModuleAuthority)
		}
	}
	return out
}

// inModule tells problems of the TLSContext by the Module's fields.
func inModule(list []graph.Problem) []graph.Problem {
	client := map[string]string{"spec.ca_secret": "spec.config.client.secret", "spec.cacert_chain_file": "spec.config.client.cacert_chain_file"}
	for i, p := range list {
		list[i].Path = cmp.Or(client[p.Path], "spec.config.server."+strings.TrimPrefix(p.Path, "spec."))
	}
	return list
}
