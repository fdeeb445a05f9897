from runner.sdk.host import main

main()
