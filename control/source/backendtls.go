// SPDX-License-Identifier: Apache-2.0

package source

import "cmp"

// renewBackendTLS makes a BackendTLSPolicy of v1alpha2 (Gateway API v1.0) one of today: it had one target, whose namespace could be said, and
// said in tls, with other names, what stands in validation.
func renewBackendTLS(object map[string]any) {
	spec, _ := object["spec"].(map[string]any)
	if ref, ok := spec["targetRef"]; ok && spec["targetRefs"] == nil {
		delete(spec, "targetRef")
		spec["targetRefs"] = []any{ref}
		r, _ := ref.(map[string]any)
		meta, _ := object["metadata"].(map[string]any)
		own, _ := meta["namespace"].(string)
		if to, ok := r["namespace"].(string); ok && to == cmp.Or(own, "default") { // Another is told as a field that is not known.
			delete(r, "namespace")
		}
	}
	if tls, ok := spec["tls"].(map[string]any); ok && spec["validation"] == nil {
		delete(spec, "tls")
		for old, name := range map[string]string{"caCertRefs": "caCertificateRefs", "wellKnownCACerts": "wellKnownCACertificates"} {
			if v, ok := tls[old]; ok {
				delete(tls, old)
				tls[name] = v
			}
		}
		spec["validation"] = tls
	}
}
