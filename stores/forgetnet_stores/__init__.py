"""The engines that come with ForgetNet, one a module; each keeps the contract of a store."""
