// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"k8s.io/klog/v2"

	"weir.dev/weir/internal/logging"
)

// What Kubernetes' clients log has the form of all other records, and is none of its own on stderr.
func TestKubernetesLogsAsWeDo(t *testing.T) {
	var out bytes.Buffer
	logs, err := logging.New(&out, logging.Options{Format: "%n %l %v"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(klog.ClearLogger)
	if _, err := connect(t.Context(), filepath.Join(t.TempDir(), "none"), "", logs.Logger("main")); err == nil {
		t.Fatal("a kubeconfig that is not there is taken")
	}
	klog.ErrorS(errors.New("no\nanswer"), "cannot watch", "kind", "Service")
	if got, want := out.String(), "kubernetes error cannot watch err=\"no\\nanswer\" kind=Service\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
