// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Files of the apiserver's audit.
const (
	auditPolicy = "audit.yaml"
	auditLog    = "audit.log"
)

// auditFlags has the apiserver write down what Options.Audit asks it.
func (c *Cluster) auditFlags() ([]string, error) {
	if c.Audit == "" {
		return nil, nil
	}
	policy := fmt.Appendf(nil, `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata, users: [%q]}, {level: None}]
`, c.Audit)
	if err := os.WriteFile(c.file(auditPolicy), policy, 0o644); err != nil {
		return nil, err
	}
	return []string{"--audit-policy-file=" + c.file(auditPolicy), "--audit-log-path=" + c.file(auditLog)}, nil
}

// A Request is one that the user of Options.Audit has made. Resource has the subresource, if there is one, after a slash;
// it is "" of what is no resource.
type Request struct {
	Verb, Group, Resource, Name string
	Code                        int
}

// Requests returns those that there have been, each as often as it was made.
func (c *Cluster) Requests() ([]Request, error) {
	data, err := os.ReadFile(c.file(auditLog))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Request
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Verb      string
			ObjectRef struct{ APIGroup, Resource, Subresource, Name string }
			Response  struct{ Code int } `json:"responseStatus"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			continue // It is being written.
		}
		r := Request{e.Verb, e.ObjectRef.APIGroup, e.ObjectRef.Resource, e.ObjectRef.Name, e.Response.Code}
		if e.ObjectRef.Subresource != "" {
			r.Resource += "/" + e.ObjectRef.Subresource
		}
		out = append(out, r)
	}
	return out, lines.Err()
}
