// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"weir.dev/weir/test/kube/private"
)

// asCommand has this binary be the command itself.
const asCommand = "KUBEUP_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestByHand starts a cluster as make kube-up does, reaches it as it says, and interrupts it.
func TestByHand(t *testing.T) {
	if testing.Short() {
		t.Skip("a cluster is not for -short")
	}
	if err := private.Possible(); err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asCommand+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := ""
	in := bufio.NewReader(out)
	for !strings.Contains(said, "ends with this process") {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("it says %q, and then %v", said, err)
		}
		said += line
	}
	exports := regexp.MustCompile(`export KUBECONFIG=(\S+) PATH=(\S+):\$PATH`).FindStringSubmatch(said)
	enter := regexp.MustCompile(`(?m)^  (nsenter .*)$`).FindStringSubmatch(said)
	if exports == nil || enter == nil {
		t.Fatalf("it says %s", said)
	}
	config, err := clientcmd.BuildConfigFromFlags("", exports[1])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kubernetes.NewForConfigOrDie(config).CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	listed := exec.CommandContext(t.Context(), exports[2]+"/kubectl", "get", "crd", "-o", "name")
	listed.Env = append(os.Environ(), "KUBECONFIG="+exports[1])
	if text, err := listed.CombinedOutput(); err != nil || !strings.Contains(string(text), "/gateways.gateway.networking.k8s.io") {
		t.Errorf("kubectl says %s, %v", text, err)
	}
	inside, err := exec.CommandContext(t.Context(), "sh", "-c", enter[1]+" ip -brief address").CombinedOutput()
	if err != nil || !strings.Contains(string(inside), "10.244.0.1/32") {
		t.Errorf("in the cluster's network: %s, %v", inside, err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	if _, err := os.Stat(exports[1]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the kubeconfig is there still: %v", err)
	}
}
