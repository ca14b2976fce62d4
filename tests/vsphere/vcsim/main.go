// A vSphere simulator that we did not write: govmomi's, as a small program for the driver's tests.
// It prints the URL it serves, then runs until its standard input closes.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/vmware/govmomi/simulator"
)

func main() {
	esx := flag.Bool("esx", false, "be a standalone host instead of a vCenter")
	delay := flag.Duration("task-delay", 0, "time that each task takes")
	user := flag.String("user", "user", "name to log in with")
	password := flag.String("password", "pass", "password to log in with")
	flag.Parse()

	model := simulator.VPX()
	if *esx {
		model = simulator.ESX()
	}
	model.Machine = 0
	if *delay > 0 {
		model.DelayConfig.MethodDelay = map[string]int{"CreateVM_Task": int(*delay / time.Millisecond)}
	}
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	defer model.Remove()
	model.Service.TLS = new(tls.Config)
	model.Service.Listen = nil
	server := model.Service.NewServer()
	defer server.Close()
	_ = user
	_ = password
	fmt.Println(server.URL.String())
	_, _ = io.Copy(io.Discard, os.Stdin)
}
