// A vSphere that we did not write: govmomi's simulator, as a small program for the driver's tests.
// It prints the URL it serves, then runs until its standard input closes.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/vmware/govmomi/simulator"
)

func main() {
	esx := flag.Bool("esx", false, "be a standalone host instead of a vCenter")
	flag.Parse()

	model := simulator.VPX()
	if *esx {
		model = simulator.ESX()
	}
	model.Machine = 0
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	defer model.Remove()
	model.Service.TLS = new(tls.Config)
	fmt.Println(model.Service.NewServer().URL)
	// Server.Close would wait for the client's idle connections.
	_, _ = io.Copy(io.Discard, os.Stdin)
}
